// The few entries of ONNX Runtime's C interface that one operator needs, declared by ourselves:
// wheels ship no headers. The interface is append-only: OrtApi is a table of function pointers
// whose slots never move, OrtCustomOp a struct whose leading fields never change.
// Source: include/onnxruntime/core/session/onnxruntime_c_api.h, version 1.16.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ort {

struct Status;
struct Value;
struct SessionOptions;
struct Domain;
struct KernelContext;
struct KernelInfo;
struct ShapeInfo;

constexpr uint32_t kVersion = 16;  // of 1.16, the first whose kernels return a status
enum ElementType { kFloat = 1 };
enum ErrorCode { kInvalidArgument = 2 };
enum MemoryType { kDefaultMemory = 0 };

using Slot = void (*)();

struct Api {
  const Slot* slots() const { return reinterpret_cast<const Slot*>(this); }
  template <typename Function>
  Function at(int slot) const {
    return reinterpret_cast<Function>(slots()[slot]);
  }
  Status* failure(const char* what) const {
    return at<Status* (*)(ErrorCode, const char*)>(0)(kInvalidArgument, what);
  }
  Status* create_domain(const char* name, Domain** out) const {
    return at<Status* (*)(const char*, Domain**)>(26)(name, out);
  }
  Status* add_op(Domain* domain, const void* op) const {
    return at<Status* (*)(Domain*, const void*)>(27)(domain, op);
  }
  Status* add_domain(SessionOptions* options, Domain* domain) const {
    return at<Status* (*)(SessionOptions*, Domain*)>(28)(options, domain);
  }
  Status* data(Value* value, void** out) const {
    return at<Status* (*)(Value*, void**)>(51)(value, out);
  }
  Status* num_dimensions(const ShapeInfo* info, size_t* out) const {
    return at<Status* (*)(const ShapeInfo*, size_t*)>(61)(info, out);
  }
  Status* dimensions(const ShapeInfo* info, int64_t* out, size_t count) const {
    return at<Status* (*)(const ShapeInfo*, int64_t*, size_t)>(62)(info, out, count);
  }
  Status* shape(const Value* value, ShapeInfo** out) const {
    return at<Status* (*)(const Value*, ShapeInfo**)>(65)(value, out);
  }
  Status* input(const KernelContext* context, size_t index, const Value** out) const {
    return at<Status* (*)(const KernelContext*, size_t, const Value**)>(90)(context, index, out);
  }
  Status* output(KernelContext* context, size_t index, const int64_t* sizes, size_t rank,
                 Value** out) const {
    using Function = Status* (*)(KernelContext*, size_t, const int64_t*, size_t, Value**);
    return at<Function>(91)(context, index, sizes, rank, out);
  }
  void release(ShapeInfo* info) const { at<void (*)(ShapeInfo*)>(99)(info); }
};

struct ApiBase {
  const Api* (*GetApi)(uint32_t version);
  const char* (*GetVersionString)();
};

struct CustomOp {
  uint32_t version;
  void* (*CreateKernel)(const CustomOp*, const Api*, const KernelInfo*);
  const char* (*GetName)(const CustomOp*);
  const char* (*GetExecutionProviderType)(const CustomOp*);
  ElementType (*GetInputType)(const CustomOp*, size_t);
  size_t (*GetInputTypeCount)(const CustomOp*);
  ElementType (*GetOutputType)(const CustomOp*, size_t);
  size_t (*GetOutputTypeCount)(const CustomOp*);
  void (*KernelCompute)(void*, KernelContext*);
  void (*KernelDestroy)(void*);
  int (*GetInputCharacteristic)(const CustomOp*, size_t);
  int (*GetOutputCharacteristic)(const CustomOp*, size_t);
  MemoryType (*GetInputMemoryType)(const CustomOp*, size_t);
  int (*GetVariadicInputMinArity)(const CustomOp*);
  int (*GetVariadicInputHomogeneity)(const CustomOp*);
  int (*GetVariadicOutputMinArity)(const CustomOp*);
  int (*GetVariadicOutputHomogeneity)(const CustomOp*);
  Status* (*CreateKernelV2)(const CustomOp*, const Api*, const KernelInfo*, void** kernel);
  Status* (*KernelComputeV2)(void* kernel, KernelContext*);
};

}  // namespace ort
