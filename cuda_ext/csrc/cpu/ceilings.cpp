// The machine's own limits, measured in the same run as the operators (dvs2s/bench/operators.py).
#include <atomic>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include "operands.h"

namespace dvs2s {
namespace {

// Products done by all threads together, `repeats` rounds each; kind 0 float32, 1 bfloat16, 2 int8.
int64_t arithmetic_ceiling(int64_t kind, int64_t repeats) {
  STD_TORCH_CHECK(kind >= 0 && kind <= 2, "kind must be 0, 1 or 2, got ", kind);
  STD_TORCH_CHECK(repeats >= 1, "repeats must be at least 1, got ", repeats);
  const Kernels& k = kernels();
  const Peak peaks[] = {k.peak_f32, k.peak_bf16, k.peak_int8};
  std::atomic<int64_t> products{0};
  parallel(static_cast<int64_t>(torch::stable::get_num_threads()), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) products += peaks[kind](repeats);
  });
  return products;
}

// Loads the rows of `weight` that `ids` (N) names, all threads together; returns a sum of sorts, so
// that nothing can be left out.
double reading_ceiling(const Tensor& weight, const Tensor& ids) {
  STD_TORCH_CHECK(weight.dim() == 2 && ids.dim() == 1, "weight must be (V, H) and ids (N)");
  STD_TORCH_CHECK(ids.scalar_type() == ScalarType::Long, "ids must be int64");
  const auto* data = static_cast<const char*>(weight.const_data_ptr());
  const auto* id = static_cast<const int64_t*>(ids.const_data_ptr());
  // Sizes are read once: asking a tensor for one costs as much as reading a short row.
  const int64_t V = weight.size(0), N = ids.size(0), bytes = weight.size(1) * weight.element_size();
  for (int64_t i = 0; i < N; ++i) {
    STD_TORCH_CHECK(id[i] >= 0 && id[i] < V, "ids must lie in 0..", V - 1);
  }
  std::atomic<int64_t> finite{0};
  const Read read = kernels().read;
  parallel((N + 63) / 64, [&](int64_t begin, int64_t end) {
    int64_t mine = 0;  // one shared count would go from cache to cache with every row
    for (int64_t i = begin * 64; i < std::min(end * 64, N); ++i) {
      mine += read(data + id[i] * bytes, bytes) == 0.0f;
    }
    finite += mine;
  });
  return static_cast<double>(finite);
}

}  // namespace
}  // namespace dvs2s

STABLE_TORCH_LIBRARY_FRAGMENT(dvs2s, m) {
  m.def("arithmetic_ceiling(int kind, int repeats) -> int");
  m.def("reading_ceiling(Tensor weight, Tensor ids) -> float");
}

STABLE_TORCH_LIBRARY_IMPL(dvs2s, CompositeExplicitAutograd, m) {
  m.impl("arithmetic_ceiling", TORCH_BOX(&dvs2s::arithmetic_ceiling));
}

STABLE_TORCH_LIBRARY_IMPL(dvs2s, CPU, m) {
  m.impl("reading_ceiling", TORCH_BOX(&dvs2s::reading_ceiling));
}
