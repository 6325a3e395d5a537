// The process behind todm/runtimes/sherpa_node.py: stock sherpa-onnx (WebAssembly) in Node.
// One JSON request a line on stdin; answers begin with the mark U+001E.
'use strict';

const path = require('path');
const readline = require('readline');

const streams = [];
let recognizer;
let contract;

function open(job) {
  const sherpa = require(path.join(job.package, 'index.js'));
  contract = job.contract;
  recognizer = sherpa.createOnlineRecognizer({
    featConfig: {
      sampleRate: contract.features.sample_rate_hz,
      featureDim: contract.features.num_bins,
    },
    modelConfig: {
      transducer: job.files,
      tokens: job.tokens,
      modelType: 'lstm',
      numThreads: 1,
      provider: 'cpu',
      debug: 0,
    },
    decodingMethod: 'greedy_search',
    enableEndpoint: 0,
  });
}

function accept(stream, samples) {
  stream.acceptWaveform(contract.features.sample_rate_hz, samples);
  drain(stream);
}

function drain(stream) {
  while (recognizer.isReady(stream)) {
    recognizer.decode(stream);
  }
}

function decoded(base64) {
  const bytes = Buffer.from(base64, 'base64');
  const samples = new Float32Array(bytes.length / 4);
  for (let i = 0; i < samples.length; ++i) {
    samples[i] = bytes.readFloatLE(4 * i);
  }
  return samples;
}

function heard(stream) {
  const {tokens, timestamps} = recognizer.getResult(stream);
  return {tokens, timestamps};
}

function answer(request) {
  const stream = streams[request.stream];
  switch (request.op) {
    case 'open':
      open(request.job);
      return {};
    case 'stream':
      return {stream: streams.push(recognizer.createStream()) - 1};
    case 'accept':
      accept(stream, decoded(request.samples));
      return {};
    case 'transcript':
      return heard(stream);
    case 'finish': {
      const rate = contract.features.sample_rate_hz;
      accept(stream, new Float32Array(Math.floor((contract.tail_padding_ms * rate) / 1000)));
      stream.inputFinished();
      drain(stream);
      const result = heard(stream);
      stream.free();
      return result;
    }
    default:
      return {error: `unknown request ${request.op}`};
  }
}

readline.createInterface({input: process.stdin}).on('line', (line) => {
  let result;
  try {
    result = answer(JSON.parse(line));
  } catch (error) {
    result = {error: String(error)};
  }
  process.stdout.write(`\u001e${JSON.stringify(result)}\n`);
});
