// A streaming recogniser of a todm bundle on ONNX Runtime Web.
//
//   const recogniser = await Recogniser.open(ort, files, contract);
//   const stream = await recogniser.stream();
//   await stream.accept(samples);               // Float32Array, 16 kHz, [-1, 1]
//   const {ids, frames, margins} = await stream.finish();
//
// `files` maps encoder, decoder, joiner and features to what ort.InferenceSession.create takes;
// `contract` is the bundle's contract.json. Search and chunk rule are those of sherpa-onnx:
// greedy, one symbol a frame, and a chunk is decoded only while more frames than it are ready.

const VOID_FRAMES = 1; // of features.onnx: the first frame of a stream

function shiftSamples({sample_rate_hz: rate, frame_shift_ms: ms}) {
  return Math.floor((rate * ms) / 1000);
}

function overlapFloats(features) {
  const window = Math.floor((features.sample_rate_hz * features.frame_length_ms) / 1000);
  const shift = shiftSamples(features);
  return Math.floor((window - shift) / 2) + shift + 1;
}

function stateFloats(contract) {
  return contract.state.reduce(
    (sum, part) => sum + part.shape.reduce((product, size) => product * size, 1), 0);
}

function joined(a, b) {
  const all = new Float32Array(a.length + b.length);
  all.set(a);
  all.set(b, a.length);
  return all;
}

export class Recogniser {
  static async open(ort, files, contract, options = {executionProviders: ['wasm']}) {
    const sessions = {};
    for (const part of ['encoder', 'decoder', 'joiner', 'features']) {
      sessions[part] = await ort.InferenceSession.create(files[part], options);
    }
    return new Recogniser(ort, sessions, contract);
  }

  constructor(ort, sessions, contract) {
    Object.assign(this, {ort, sessions, contract});
    this.inputFrames = contract.chunk_frames * contract.subsampling;
    this.shift = shiftSamples(contract.features);
    const [, state] = sessions.encoder.inputMetadata;
    if (state.shape[2] !== stateFloats(contract)) {
      throw new Error(
        `the encoder's state has ${state.shape[2]} floats, the contract's ` +
        `${stateFloats(contract)}; export the bundle anew`);
    }
    this.unusedWidth = sessions.encoder.inputMetadata[2].shape[2];
  }

  async stream() {
    const stream = new Stream(this);
    await stream.reset();
    return stream;
  }

  // Runs a session on inputs in the order of its ports; returns its outputs in that order.
  async run(part, ...inputs) {
    const session = this.sessions[part];
    const feeds = {};
    session.inputNames.forEach((name, index) => { feeds[name] = inputs[index]; });
    const found = await session.run(feeds);
    return session.outputNames.map((name) => found[name]);
  }

  tensor(data, dims) {
    return new this.ort.Tensor('float32', data, dims);
  }

  async predict(context) {
    const ids = BigInt64Array.from(context, (id) => BigInt(id));
    return (await this.run('decoder', new this.ort.Tensor('int64', ids, [1, ids.length])))[0];
  }
}

export class Stream {
  constructor(recogniser) {
    this.recogniser = recogniser;
  }

  // Begins anew, by the contract's rule: zero state, start context, time 0.
  async reset() {
    const {recogniser: r} = this;
    const {contract} = r;
    this.waiting = new Float32Array(0);
    this.overlap = r.tensor(
      new Float32Array(overlapFloats(contract.features)), [1, overlapFloats(contract.features)]);
    this.toDrop = VOID_FRAMES;
    this.numSamples = 0;
    this.readyFrames = 0;
    this.limitFrames = Infinity;
    this.doneFrames = 0;
    this.features = new Float32Array(0); // of the frames from doneFrames on
    const floats = stateFloats(contract);
    this.state = r.tensor(new Float32Array(floats), [1, 1, floats]);
    this.unused = r.tensor(new Float32Array(r.unusedWidth), [1, 1, r.unusedWidth]);
    this.context = new Array(contract.context_size).fill(-1);
    this.context[contract.context_size - 1] = contract.blank_id;
    this.prediction = await r.predict(this.context);
    this.ids = [];
    this.frames = [];
    this.margins = [];
    this.finished = false;
  }

  get transcript() {
    return {ids: this.ids, frames: this.frames, margins: this.margins};
  }

  async accept(samples) {
    if (this.finished) {
      throw new Error('the stream is finished; reset it before it takes more samples');
    }
    this.numSamples += samples.length;
    await this.push(samples);
    await this.drain();
  }

  // Appends the contract's silence and decodes what is left.
  async finish() {
    if (!this.finished) {
      const {contract, shift} = this.recogniser;
      const rate = contract.features.sample_rate_hz;
      await this.accept(new Float32Array(Math.floor((contract.tail_padding_ms * rate) / 1000)));
      this.limitFrames = Math.floor((this.numSamples + Math.floor(shift / 2)) / shift);
      await this.push(new Float32Array(3 * shift));
      await this.drain();
      this.finished = true;
    }
    return this.transcript;
  }

  async push(samples) {
    const {recogniser: r} = this;
    const all = joined(this.waiting, samples);
    const whole = all.length - (all.length % r.shift);
    this.waiting = all.slice(whole);
    if (whole === 0) {
      return;
    }
    const input = r.tensor(all.slice(0, whole), [1, whole]);
    const [logMel, overlap] = await r.run('features', input, this.overlap);
    this.overlap = overlap;
    const bins = r.contract.features.num_bins;
    const fresh = logMel.data.slice(this.toDrop * bins);
    this.toDrop = 0;
    this.features = joined(this.features, fresh);
    this.readyFrames += fresh.length / bins;
  }

  async drain() {
    const {recogniser: r} = this;
    const {inputFrames: chunk, contract} = r;
    const bins = contract.features.num_bins;
    while (this.doneFrames + chunk < Math.min(this.readyFrames, this.limitFrames)) {
      const x = r.tensor(this.features.slice(0, chunk * bins), [1, chunk, bins]);
      this.features = this.features.slice(chunk * bins);
      const [encoded, state] = await r.run('encoder', x, this.state, this.unused);
      this.state = state;
      await this.search(encoded);
      this.doneFrames += chunk;
    }
  }

  async search(encoded) {
    const {recogniser: r} = this;
    const width = r.contract.joiner_dim;
    for (let frame = 0; frame < r.contract.chunk_frames; ++frame) {
      const row = r.tensor(encoded.data.slice(frame * width, (frame + 1) * width), [1, width]);
      const [logits] = await r.run('joiner', row, this.prediction);
      const {best, margin} = clearest(logits.data);
      this.margins.push(margin);
      if (best !== r.contract.blank_id) {
        this.ids.push(best);
        this.frames.push(this.margins.length - 1);
        this.context = [...this.context.slice(1), best];
        this.prediction = await r.predict(this.context);
      }
    }
  }
}

// The greatest logit (the first of equal ones) and its distance to the second.
function clearest(logits) {
  let best = 0;
  let second = -Infinity;
  for (let id = 1; id < logits.length; ++id) {
    if (logits[id] > logits[best]) {
      second = logits[best];
      best = id;
    } else if (logits[id] > second) {
      second = logits[id];
    }
  }
  return {best, margin: logits[best] - second};
}
