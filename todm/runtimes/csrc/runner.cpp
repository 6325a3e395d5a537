// Run a bundle's model.pte on a recording, as a device does: features, chunks, greedy search.
//
//   todm_runner MODEL.pte AUDIO.wav [--threads N] [--kernels LIBRARY] [--features FILE]
//
// All that it must know of the model is in the program (the method `todm_contract`). It prints one
// JSON object: tokens with their encoder frames, the arena that each method plans, the process's
// peak memory before the program is there, once it is loaded and at the end, and the time of a
// chunk. Rules: todm.decode.streaming and todm.decode.greedy.
#include <dlfcn.h>
#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <numeric>
#include <sstream>

#include "fbank.h"
#include "wav.h"

// The wheel has the thread pool's library without its header: what is called of it.
namespace executorch::extension::threadpool {
class ThreadPool {
 public:
  bool _unsafe_reset_threadpool(uint32_t threads);
};
ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool

namespace {

using executorch::extension::from_blob;
using executorch::extension::Module;
using executorch::runtime::EValue;

constexpr double kContractVersion = 1;
constexpr const char* kMethods[] = {"encoder", "decoder", "joiner"};

// The values of `todm_contract` in their order (todm.export.pte_contract).
struct Contract {
  long input_frames, subsampling, state_floats, joiner_dim, vocab_size, context_size, blank_id;
  long tail_padding_ms;
  todm::FbankSettings features;
};

[[noreturn]] void fail(const std::string& what) { throw std::runtime_error(what); }

std::vector<EValue> run(Module& module, const char* method, const std::vector<EValue>& inputs) {
  auto outputs = module.execute(method, inputs);
  if (!outputs.ok()) {
    char code[16];
    std::snprintf(code, sizeof code, "%#x", static_cast<int>(outputs.error()));
    fail(std::string(method) + ": ExecuTorch error " + code);
  }
  return std::move(outputs.get());
}

Contract read_contract(Module& module) {
  const auto values = run(module, "todm_contract", {});
  const auto tensor = values.at(0).toTensor();
  const float* v = tensor.const_data_ptr<float>();
  if (tensor.numel() != 16 || v[0] != kContractVersion)
    fail("the program's contract is not of version 1; export it with the todm of this runner");
  const auto whole = [v](int i) { return std::lround(v[i]); };
  Contract c{whole(1), whole(2), whole(3), whole(4), whole(5), whole(6), whole(7), whole(8), {}};
  c.features = {int(whole(9)), int(whole(10)), int(whole(11)), int(whole(12)), v[13], v[14], v[15]};
  return c;
}

long peak_ram_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind("VmHWM:", 0) == 0) return 1024 * std::atol(line.c_str() + 6);
  return -1;
}

class Recogniser {
 public:
  Recogniser(Module& module, const Contract& contract)
      : module_(module), c_(contract), state_(contract.state_floats, 0.0f) {
    context_.assign(c_.context_size, -1);
    context_.back() = c_.blank_id;
    predict();
  }

  void chunk(std::vector<float>& features) {
    const int frames = int(c_.input_frames), bins = c_.features.bins;
    auto x = from_blob(features.data(), {1, frames, bins});
    auto state = from_blob(state_.data(), {1, int(state_.size())});
    const auto out = run(module_, "encoder", {x, state});
    const auto encoded = out.at(0).toTensor();
    // Copied: the next call overwrites the outputs.
    std::vector<float> rows(encoded.const_data_ptr<float>(),
                            encoded.const_data_ptr<float>() + encoded.numel());
    const float* next = out.at(1).toTensor().const_data_ptr<float>();
    state_.assign(next, next + state_.size());
    for (long k = 0; k < long(rows.size()) / c_.joiner_dim; ++k, ++frame_)
      search(rows.data() + k * c_.joiner_dim);
  }

  std::vector<long> tokens, frames;

 private:
  void search(float* row) {
    auto encoded = from_blob(row, {1, int(c_.joiner_dim)});
    auto predicted = from_blob(predicted_.data(), {1, int(c_.joiner_dim)});
    const auto out = run(module_, "joiner", {encoded, predicted});
    const float* logits = out.at(0).toTensor().const_data_ptr<float>();
    const long best = std::max_element(logits, logits + c_.vocab_size) - logits;
    if (best == c_.blank_id) return;
    tokens.push_back(best), frames.push_back(frame_);
    std::rotate(context_.begin(), context_.begin() + 1, context_.end());
    context_.back() = best;
    predict();
  }

  void predict() {
    auto context = from_blob(context_.data(), {1, int(c_.context_size)},
                             executorch::aten::ScalarType::Long);
    const auto out = run(module_, "decoder", {context});
    const float* row = out.at(0).toTensor().const_data_ptr<float>();
    predicted_.assign(row, row + c_.joiner_dim);
  }

  Module& module_;
  const Contract& c_;
  std::vector<float> state_, predicted_;
  std::vector<int64_t> context_;
  long frame_ = 0;
};

template <typename Value>
std::string list(const std::vector<Value>& values) {
  std::ostringstream text;
  for (size_t i = 0; i < values.size(); ++i) text << (i ? "," : "") << values[i];
  return "[" + text.str() + "]";
}

std::string planned(Module& module) {
  std::ostringstream text;
  for (const char* name : kMethods) {
    auto meta = module.method_meta(name);
    if (!meta.ok()) fail(std::string("no method ") + name);
    int64_t bytes = 0;
    for (size_t i = 0; i < meta->num_memory_planned_buffers(); ++i)
      bytes += meta->memory_planned_buffer_size(i).get();
    text << (text.str().empty() ? "" : ",") << '"' << name << "\":" << bytes;
  }
  return "{" + text.str() + "}";
}

int transcribe(const std::string& model, const std::string& audio,
               std::map<std::string, std::string>& options) {
  if (!options["--kernels"].empty() && !dlopen(options["--kernels"].c_str(), RTLD_NOW | RTLD_GLOBAL))
    fail(dlerror());
  const int threads = options["--threads"].empty() ? 1 : std::atoi(options["--threads"].c_str());
  executorch::extension::threadpool::get_threadpool()->_unsafe_reset_threadpool(threads);
  const long before = peak_ram_bytes();
  Module module(model, Module::LoadMode::Mmap);
  for (const char* name : kMethods)
    if (module.load_method(name) != executorch::runtime::Error::Ok)
      fail(model + ": ExecuTorch cannot load its method " + name);
  const Contract contract = read_contract(module);
  const long loaded = peak_ram_bytes();

  auto signal = todm::read_wav(audio, contract.features.rate_hz);
  signal.resize(signal.size() + contract.tail_padding_ms * contract.features.rate_hz / 1000, 0.0f);
  const todm::Fbank fbank(contract.features);
  Recogniser recogniser(module, contract);
  std::ofstream dump;
  if (!options["--features"].empty()) dump.open(options["--features"], std::ios::binary);
  const long frames = fbank.num_frames(long(signal.size())), chunk = contract.input_frames;
  const int bins = contract.features.bins;
  std::vector<float> features(chunk * bins);
  std::vector<double> times_ms;
  for (long done = 0; done + chunk < frames; done += chunk) {  // strict, as sherpa-onnx has it
    const auto begin = std::chrono::steady_clock::now();
    for (long i = 0; i < chunk; ++i) fbank.frame(signal, done + i, features.data() + i * bins);
    recogniser.chunk(features);
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
    times_ms.push_back(took.count());
    dump.write(reinterpret_cast<const char*>(features.data()), features.size() * sizeof(float));
  }
  std::cout << "{\"tokens\":" << list(recogniser.tokens)
            << ",\"frames\":" << list(recogniser.frames) << ",\"planned_bytes\":" << planned(module)
            << ",\"peak_bytes\":{\"before\":" << before << ",\"loaded\":" << loaded
            << ",\"end\":" << peak_ram_bytes() << "},\"chunk_ms\":" << list(times_ms) << "}\n";
  return 0;
}

}  // namespace

int main(int count, char** words) {
  std::map<std::string, std::string> options = {
      {"--threads", ""}, {"--kernels", ""}, {"--features", ""}};
  std::vector<std::string> files;
  bool known = true;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    if (word.rfind("--", 0) != 0)
      files.push_back(word);
    else if (options.count(word) && i + 1 < count)
      options[word] = words[++i];
    else
      known = false;
  }
  try {
    if (!known || files.size() != 2)
      fail("usage: todm_runner MODEL.pte AUDIO.wav [--threads N] [--kernels LIBRARY] "
           "[--features FILE]");
    return transcribe(files[0], files[1], options);
  } catch (const std::exception& error) {
    std::cerr << "todm_runner: " << error.what() << '\n';
    return 2;
  }
}
