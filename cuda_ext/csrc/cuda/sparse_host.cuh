// What the sparse operators share on the host: checked operands, the split into blocks, launches.
#pragma once

#include "operators.cuh"
#include "sparse_kernels.cuh"

namespace dvs2s::gpu {

// The operands of a sparse operator, dense, with what the kernels are told of them.
struct SparseCall {
  Tensor hidden, weight, bias, ids, lengths;
  MaybeTensor scales;
  int64_t H = 0;
  SparseArgs args{};
};

inline SparseCall sparse_call(
    Task task, const Tensor& hidden, const Tensor& weight, const Tensor& bias, const Tensor& ids,
    const Tensor& lengths, const MaybeTensor& scales) {
  const Sizes s = check_layer(hidden, weight, bias);
  STD_TORCH_CHECK(ids.dim() == 2, "ids must be (B, K), got ", ids.dim(), " dimensions");
  check_shape(ids, "ids", {s.B, ids.size(1)}, "(B, K)");
  check_shape(lengths, "lengths", {s.B}, "(B)");
  check_like(ids, "ids", hidden);
  check_like(lengths, "lengths", hidden);
  const bool is_int8 = weight.scalar_type() == ScalarType::Char;
  STD_TORCH_CHECK(
      is_int8 == scales.has_value(), "scales (V) float32 go with int8 weight, and only with it");
  if (is_int8) {
    check_shape(*scales, "scales", {s.V}, "(V)");
    check_type(*scales, "scales", {ScalarType::Float}, "float32");
    check_like(*scales, "scales", hidden);
  }
  SparseCall call{dense(hidden), dense(weight), dense(bias), dense(ids), dense(lengths)};
  if (is_int8) call.scales = dense(*scales);
  call.H = s.H;
  SparseArgs& args = call.args;
  args.task = task;
  args.hidden = matrix(call.hidden, hidden);
  args.weight = matrix(call.weight, hidden);
  args.bias = floats(call.bias, "bias");
  args.scales = is_int8 ? data<float>(*call.scales) : nullptr;
  args.ids = integers(call.ids, "ids");
  args.lengths = integers(call.lengths, "lengths");
  args.B = s.B;
  args.R = s.R;
  args.V = s.V;
  args.K = ids.size(1);
  STD_TORCH_CHECK(args.K < int64_t{1} << 31, "ids must have K < 2^31, got ", args.K);
  return call;
}

constexpr int64_t kTensorRows = 8;  // from so many rows on, tensor cores

// Few rows: a block a chunk, so that one example fills the GPU. Many rows: as few splits as fill
// it four times over. Either way a result depends on the chunks alone, never on the splits.
inline void plan_sparse(SparseArgs& args, int64_t processors) {
  const bool tensor = args.R >= kTensorRows;
  const int64_t words = tensor ? SparseShape::kM : kGatherWords;
  args.chunks = ceil_div(std::max<int64_t>(args.K, args.k), words);
  args.row_tiles = tensor ? ceil_div(args.R, SparseShape::kN) : 1;
  const int64_t blocks = std::max<int64_t>(1, args.B * args.row_tiles);
  const int64_t wanted = ceil_div(4 * processors, blocks);
  args.chunks_per_split =
      ceil_div(args.chunks, std::clamp<int64_t>(wanted, 1, std::max<int64_t>(1, args.chunks)));
  args.splits = args.chunks_per_split == 0 ? 0 : ceil_div(args.chunks, args.chunks_per_split);
}

template <class T>
void launch_gather(const SparseArgs& args, Stream stream) {
  const int64_t blocks = args.B * args.splits;
  const size_t shared = gather_shared_bytes(args.k);
  const int threads = kGatherWarps * 32;
  if (args.R == 1) return launch(gather_kernel<T, 1>, blocks, threads, shared, stream, args);
  if (args.R <= 4) return launch(gather_kernel<T, 4>, blocks, threads, shared, stream, args);
  launch(gather_kernel<T, 8>, blocks, threads, shared, stream, args);
}

inline void launch_sparse(const SparseCall& call, Stream stream) {
  const SparseArgs& args = call.args;
  if (args.B * args.R == 0 || args.chunks == 0) return;
  for_type(call.hidden, [&](auto zero) {
    using T = decltype(zero);
    if (args.R < kTensorRows) return launch_gather<T>(args, stream);
    launch(
        tensor_kernel<T>, args.B * args.splits * args.row_tiles, SparseShape::kThreads,
        tensor_shared_bytes(args.k), stream, args);
  });
}

}  // namespace dvs2s::gpu
