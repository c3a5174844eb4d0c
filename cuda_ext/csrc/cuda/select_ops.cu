// Vocabulary selection.
#include "operators.cuh"
#include "select_kernel.cuh"

namespace dvs2s::gpu {

std::tuple<Tensor, Tensor> select_topm(
    Tensor scores, int64_t num_fixed, int64_t size, MaybeTensor always) {
  STD_TORCH_CHECK(scores.dim() == 2, "scores must be (B, C), got ", scores.dim(), " dimensions");
  check_type(scores, "scores", {ScalarType::Float}, "float32");
  const int64_t B = scores.size(0), C = scores.size(1), V = num_fixed + C;
  STD_TORCH_CHECK(num_fixed >= 0, "num_fixed must be at least 0, got ", num_fixed);
  STD_TORCH_CHECK(
      size >= num_fixed, "size must be at least the ", num_fixed,
      " fixed words that are always in, got ", size, ": ask for more words");
  STD_TORCH_CHECK(C < int64_t{1} << 31, "scores must have C < 2^31, got ", C);
  const Place place(scores);
  const Tensor dense_scores = dense(scores);
  MaybeTensor dense_always;
  if (always.has_value()) {
    check_shape(*always, "always", {B, V}, "(B, V)");
    check_type(*always, "always", {ScalarType::Bool}, "bool");
    check_like(*always, "always", scores);
    dense_always = dense(*always);
  }
  SelectArgs args{};
  args.scores = data<float>(dense_scores);
  args.always = dense_always ? static_cast<const uint8_t*>(dense_always->data_ptr()) : nullptr;
  args.C = C;
  args.num_fixed = num_fixed;
  args.size = size;
  // how many words must be in is not known on the host: room for all of them
  args.width = always.has_value() ? V : std::min(size, V);
  const Tensor ids = empty(scores, {B, args.width}, ScalarType::Long);
  const Tensor lengths = empty(scores, {B}, ScalarType::Long);
  args.ids = data<int64_t>(ids);
  args.lengths = data<int64_t>(lengths);
  launch(select_kernel, B, kSelectThreads, sizeof(SelectShared), place.stream(), args);
  return {ids, lengths};
}

}  // namespace dvs2s::gpu
