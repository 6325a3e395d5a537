// The scan as ExecuTorch's kernel todm::ssm_scan.out, registered when the library is loaded:
//   u (B, L, H, P), state (B, H, 2 N, P), pole_re, pole_im, read_re, read_im (H, N), skip (H)
//   -> y (B, L, H, P), next (B, H, 2 N, P)
#include <executorch/runtime/kernel/kernel_includes.h>
#include <executorch/runtime/kernel/operator_registry.h>

#include "ssm_scan.h"

namespace {

using executorch::aten::ScalarType;
using executorch::aten::Tensor;
using executorch::runtime::Error;
using executorch::runtime::EValue;
using executorch::runtime::KernelRuntimeContext;

constexpr size_t kInputs = 7, kOutputs = 2;
constexpr ssize_t kRanks[kInputs] = {4, 4, 2, 2, 2, 2, 1};

bool fit(const todm::ScanSizes& s, const Tensor (&in)[kInputs]) {
  for (size_t i = 0; i < kInputs; ++i)
    if (in[i].dim() != kRanks[i] || in[i].scalar_type() != ScalarType::Float) return false;
  const Tensor& state = in[1];
  if (state.size(0) != s.streams || state.size(1) != s.heads || state.size(2) != 2 * s.modes ||
      state.size(3) != s.channels)
    return false;
  for (size_t i = 2; i < 6; ++i)
    if (in[i].size(0) != s.heads || in[i].size(1) != s.modes) return false;
  return in[6].size(0) == s.heads;
}

// EXECUTORCH_LIBRARY takes kernels of one output only, so this one unpacks its own arguments.
void compute(KernelRuntimeContext& context, executorch::runtime::Span<EValue*> stack) {
  if (stack.size() < kInputs + kOutputs) return context.fail(Error::InvalidProgram);
  const Tensor in[kInputs] = {stack[0]->toTensor(), stack[1]->toTensor(), stack[2]->toTensor(),
                              stack[3]->toTensor(), stack[4]->toTensor(), stack[5]->toTensor(),
                              stack[6]->toTensor()};
  Tensor y = stack[7]->toTensor(), next = stack[8]->toTensor();
  if (in[0].dim() != 4 || in[2].dim() != 2) return context.fail(Error::InvalidArgument);
  const todm::ScanSizes sizes = {in[0].size(0), in[0].size(1), in[0].size(2), in[2].size(1),
                                 in[0].size(3)};
  if (!fit(sizes, in) || y.numel() != in[0].numel() || next.numel() != in[1].numel())
    return context.fail(Error::InvalidArgument);
  const auto floats = [&in](size_t i) { return in[i].const_data_ptr<float>(); };
  todm::ssm_scan(sizes, {floats(2), floats(3), floats(4), floats(5), floats(6)}, floats(0),
                 floats(1), y.mutable_data_ptr<float>(), next.mutable_data_ptr<float>());
}

const Error kRegistered = executorch::runtime::register_kernel(
    executorch::runtime::Kernel("todm::ssm_scan.out", compute));

}  // namespace

// What loads this library asks here whether the registration went well: 0 is well.
extern "C" __attribute__((visibility("default"))) int todm_kernels_error() {
  return static_cast<int>(kRegistered);
}
