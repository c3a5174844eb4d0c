// Host side of the operators: checks, allocation, launches. Only torch's stable ABI is used, and
// nothing here waits for the device.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include "product.cuh"

#ifndef DVS2S_EMULATE
// In torch's CUDA library. Weak, so that this library also loads beside a torch without CUDA.
extern "C" __attribute__((weak)) AOTITorchError aoti_torch_get_current_cuda_stream(
    int32_t device_index, void** ret_stream);
#endif

namespace dvs2s::gpu {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using MaybeTensor = std::optional<Tensor>;

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Makes the tensor's device current for the scope, and names its current stream.
class Place {
 public:
#ifdef DVS2S_EMULATE
  explicit Place(const Tensor&) {}
  Stream stream() const { return nullptr; }
  int64_t num_processors() const { return 1; }
#else
  explicit Place(const Tensor& tensor)
      : index_(tensor.get_device_index()), guard_(index_) {}
  Stream stream() const {
    STD_TORCH_CHECK(
        aoti_torch_get_current_cuda_stream != nullptr,
        "this torch was built without CUDA: install one with it");
    void* stream = nullptr;
    STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(index_, &stream));
    return static_cast<Stream>(stream);
  }
  int64_t num_processors() const {
    int count = 0;
    const cudaError_t error =
        cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, index_);
    STD_TORCH_CHECK(error == cudaSuccess, "CUDA: ", cudaGetErrorString(error));
    return count;
  }

 private:
  int32_t index_;
  torch::stable::accelerator::DeviceGuard guard_;
#endif
};

// Launches a kernel on a one-dimensional grid; nothing where there are no blocks.
template <class... Parameters, class... Arguments>
void launch(
    void (*kernel)(Parameters...), int64_t blocks, int threads, size_t shared_bytes, Stream stream,
    Arguments... arguments) {
  if (blocks == 0) return;
  STD_TORCH_CHECK(
      blocks <= std::numeric_limits<int32_t>::max(), "too much for one call: ", blocks,
      " blocks; split the batch");
#ifdef DVS2S_EMULATE
  (void)stream;
  emulation::run_grid(blocks, threads, shared_bytes, [=]() { kernel(arguments...); });
#else
  cudaError_t error = cudaSuccess;
  if (shared_bytes > 48 * 1024) {
    error = cudaFuncSetAttribute(
        reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
        static_cast<int>(shared_bytes));
    STD_TORCH_CHECK(
        error == cudaSuccess, "this GPU cannot give a block ", shared_bytes,
        " bytes of shared memory: ", cudaGetErrorString(error));
  }
  kernel<<<static_cast<unsigned>(blocks), threads, shared_bytes, stream>>>(arguments...);
  error = cudaGetLastError();
  STD_TORCH_CHECK(error == cudaSuccess, "CUDA launch: ", cudaGetErrorString(error));
#endif
}

// Calls f with a value of the element type that a tensor has.
template <class F>
void for_type(const Tensor& tensor, const F& f) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float: return f(float{});
    case ScalarType::BFloat16: return f(bf16{});
    case ScalarType::Half: return f(f16{});
    default:
      STD_TORCH_CHECK(
          false, "hidden must be float32, bfloat16 or float16, got ",
          torch::headeronly::toString(tensor.scalar_type()), ": convert it");
  }
}

inline Tensor empty(
    const Tensor& like, std::initializer_list<int64_t> sizes, ScalarType type = ScalarType::Float) {
  return torch::stable::new_empty(like, {sizes.begin(), sizes.size()}, type);
}
inline Tensor zeros(
    const Tensor& like, std::initializer_list<int64_t> sizes, ScalarType type = ScalarType::Float) {
  return torch::stable::new_zeros(like, {sizes.begin(), sizes.size()}, type);
}

template <class T>
T* data(const Tensor& tensor) {
  return static_cast<T*>(tensor.data_ptr());
}

// One that the kernels may index as rows: a copy where a view has gaps.
inline Tensor dense(const Tensor& tensor) { return torch::stable::contiguous(tensor); }

inline void check_like(const Tensor& tensor, const char* name, const Tensor& hidden) {
  STD_TORCH_CHECK(
      tensor.device() == hidden.device(), name, " must be on hidden's device: move it there");
}

inline void check_shape(
    const Tensor& tensor, const char* name, std::initializer_list<int64_t> expected,
    const char* letters) {
  bool same = tensor.dim() == static_cast<int64_t>(expected.size());
  std::ostringstream got, wanted;
  for (int64_t i = 0; i < tensor.dim(); ++i) {
    if (same) same = tensor.size(i) == expected.begin()[i];
    got << (i ? ", " : "") << tensor.size(i);
  }
  for (size_t i = 0; i < expected.size(); ++i) wanted << (i ? ", " : "") << expected.begin()[i];
  STD_TORCH_CHECK(
      same, name, " must be ", letters, " = (", wanted.str(), "), got (", got.str(), ")");
}

inline void check_type(
    const Tensor& tensor, const char* name, std::initializer_list<ScalarType> allowed,
    const char* words) {
  for (const ScalarType type : allowed) {
    if (tensor.scalar_type() == type) return;
  }
  STD_TORCH_CHECK(
      false, name, " must be ", words, ", got ",
      torch::headeronly::toString(tensor.scalar_type()), ": convert it");
}

inline Integers integers(const Tensor& tensor, const char* name) {
  check_type(tensor, name, {ScalarType::Int, ScalarType::Long}, "int32 or int64");
  return Integers{tensor.data_ptr(), tensor.scalar_type() == ScalarType::Long};
}

inline Floats floats(const Tensor& tensor, const char* name) {
  check_type(
      tensor, name, {ScalarType::Float, ScalarType::BFloat16, ScalarType::Half},
      "float32 or hidden's type");
  Floats::Kind kind = Floats::kFloat;
  if (tensor.scalar_type() == ScalarType::BFloat16) kind = Floats::kBfloat;
  if (tensor.scalar_type() == ScalarType::Half) kind = Floats::kHalf;
  return Floats{tensor.data_ptr(), kind};
}

// The rows of a dense (..., width) tensor, and the fastest way to read them as hidden's type.
inline Matrix matrix(const Tensor& tensor, const Tensor& hidden) {
  const int64_t width = tensor.size(tensor.dim() - 1);
  const auto address = reinterpret_cast<uintptr_t>(tensor.data_ptr());
  const auto unit = static_cast<int64_t>(16 / hidden.element_size());  // elements
  const bool is_int8 = tensor.scalar_type() == ScalarType::Char;
  const uintptr_t bytes = is_int8 ? static_cast<uintptr_t>(unit) : 16;
  const bool whole = width % unit == 0 && address % bytes == 0;
  Reading reading = whole ? Reading::kUnits : Reading::kElements;
  if (is_int8) reading = whole ? Reading::kInt8Units : Reading::kInt8Elements;
  return Matrix{tensor.data_ptr(), reading, width};
}

struct Sizes {
  int64_t B, R, H, V;
};

// Checks hidden (B, R, H), weight (V, H) of one type, bias (V).
inline Sizes check_layer(const Tensor& hidden, const Tensor& weight, const Tensor& bias) {
  STD_TORCH_CHECK(hidden.dim() == 3, "hidden must be (B, R, H), got ", hidden.dim(), " dimensions");
  STD_TORCH_CHECK(weight.dim() == 2, "weight must be (V, H), got ", weight.dim(), " dimensions");
  const Sizes s{hidden.size(0), hidden.size(1), hidden.size(2), weight.size(0)};
  STD_TORCH_CHECK(s.H >= 1, "hidden must have H >= 1, got 0");
  STD_TORCH_CHECK(s.V >= 1, "weight must have V >= 1 rows, got 0");
  check_shape(weight, "weight", {s.V, s.H}, "(V, H)");
  check_shape(bias, "bias", {s.V}, "(V)");
  STD_TORCH_CHECK(
      weight.scalar_type() == hidden.scalar_type() || weight.scalar_type() == ScalarType::Char,
      "weight must be of hidden's type, or int8 with scales, got ",
      torch::headeronly::toString(weight.scalar_type()), ": convert one");
  STD_TORCH_CHECK(
      bias.scalar_type() == ScalarType::Float || bias.scalar_type() == hidden.scalar_type(),
      "bias must be float32 or of hidden's type, got ",
      torch::headeronly::toString(bias.scalar_type()), ": convert it");
  check_like(weight, "weight", hidden);
  check_like(bias, "bias", hidden);
  return s;
}

}  // namespace dvs2s::gpu
