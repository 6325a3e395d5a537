// The scan as ONNX Runtime's operator todm.SsmScan, version 1:
//   u (B, L, H, P), state (B, H, 2 N, P), pole_re, pole_im, read_re, read_im (H, N), skip (H)
//   -> y (B, L, H, P), next (B, H, 2 N, P)
#include <cstdlib>

#include "ort_api.h"
#include "ssm_scan.h"

namespace {

constexpr size_t kInputs = 7, kOutputs = 2;
constexpr size_t kRanks[kInputs] = {4, 4, 2, 2, 2, 2, 1};

struct Tensor {
  const float* data = nullptr;
  int64_t sizes[4] = {};

  ort::Status* read(const ort::Api* api, const ort::KernelContext* context, size_t index) {
    const ort::Value* value = nullptr;
    ort::ShapeInfo* info = nullptr;
    size_t rank = 0;
    void* raw = nullptr;
    if (auto* failed = api->input(context, index, &value)) return failed;
    if (auto* failed = api->shape(value, &info)) return failed;
    auto* failed = api->num_dimensions(info, &rank);
    if (!failed && rank != kRanks[index]) failed = api->failure("SsmScan: an input of wrong rank");
    if (!failed) failed = api->dimensions(info, sizes, rank);
    api->release(info);
    if (!failed) failed = api->data(const_cast<ort::Value*>(value), &raw);
    data = static_cast<const float*>(raw);
    return failed;
  }
};

bool fit(const todm::ScanSizes& s, const Tensor (&in)[kInputs]) {
  const int64_t* state = in[1].sizes;
  if (state[0] != s.streams || state[1] != s.heads || state[2] != 2 * s.modes ||
      state[3] != s.channels)
    return false;
  for (size_t i = 2; i < 6; ++i)
    if (in[i].sizes[0] != s.heads || in[i].sizes[1] != s.modes) return false;
  return in[6].sizes[0] == s.heads;
}

ort::Status* compute(void* kernel, ort::KernelContext* context) {
  const auto* api = static_cast<const ort::Api*>(kernel);
  Tensor in[kInputs];
  for (size_t i = 0; i < kInputs; ++i)
    if (auto* failed = in[i].read(api, context, i)) return failed;
  const int64_t* u = in[0].sizes;
  const todm::ScanSizes sizes = {u[0], u[1], u[2], in[2].sizes[1], u[3]};
  if (!fit(sizes, in)) return api->failure("SsmScan: the inputs' shapes do not fit each other");
  float* out[kOutputs];
  for (size_t i = 0; i < kOutputs; ++i) {
    ort::Value* value = nullptr;
    void* raw = nullptr;
    if (auto* failed = api->output(context, i, in[i].sizes, 4, &value)) return failed;
    if (auto* failed = api->data(value, &raw)) return failed;
    out[i] = static_cast<float*>(raw);
  }
  todm::ssm_scan(sizes, {in[2].data, in[3].data, in[4].data, in[5].data, in[6].data}, in[0].data,
                 in[1].data, out[0], out[1]);
  return nullptr;
}

const ort::CustomOp kScan = {
    ort::kVersion,
    nullptr,
    [](const ort::CustomOp*) { return "SsmScan"; },
    [](const ort::CustomOp*) -> const char* { return nullptr; },  // the CPU's
    [](const ort::CustomOp*, size_t) { return ort::kFloat; },
    [](const ort::CustomOp*) { return kInputs; },
    [](const ort::CustomOp*, size_t) { return ort::kFloat; },
    [](const ort::CustomOp*) { return kOutputs; },
    nullptr,
    [](void*) {},  // the kernel is the interface itself: nothing to free
    [](const ort::CustomOp*, size_t) { return 0; },  // required
    [](const ort::CustomOp*, size_t) { return 0; },
    [](const ort::CustomOp*, size_t) { return ort::kDefaultMemory; },
    [](const ort::CustomOp*) { return 1; },
    [](const ort::CustomOp*) { return 1; },
    [](const ort::CustomOp*) { return 1; },
    [](const ort::CustomOp*) { return 1; },
    [](const ort::CustomOp*, const ort::Api* api, const ort::KernelInfo*,
       void** kernel) -> ort::Status* {
      *kernel = const_cast<ort::Api*>(api);
      return nullptr;
    },
    compute,
};

// "1.32.0" -> 32: GetApi complains on stderr about a version that it does not have, so ask first.
long minor_version(const char* version) {
  char* end = nullptr;
  const long major = std::strtol(version, &end, 10);
  if (major > 1) return ort::kVersion;
  return end && *end == '.' ? std::strtol(end + 1, nullptr, 10) : 0;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) ort::Status* RegisterCustomOps(
    ort::SessionOptions* options, const ort::ApiBase* base) {
  // An older runtime gives its first interface, whose slots are the same, to say so through.
  if (minor_version(base->GetVersionString()) < static_cast<long>(ort::kVersion))
    return base->GetApi(1)->failure("todm's scan needs ONNX Runtime 1.16 or later");
  const ort::Api* api = base->GetApi(ort::kVersion);
  static ort::Domain* domain = nullptr;  // lives as long as the library: sessions hold on to it
  if (domain == nullptr) {
    if (auto* failed = api->create_domain("todm", &domain)) return failed;
    if (auto* failed = api->add_op(domain, &kScan)) return failed;
  }
  return api->add_domain(options, domain);
}
