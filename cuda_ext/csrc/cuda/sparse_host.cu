// Operands of the sparse operators, their split into blocks, and the launch of their kernels.
#include "sparse_host.cuh"
#include "sparse_kernels.cuh"

namespace dvs2s::gpu {

SparseCall sparse_call(
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

int64_t words_of_chunk(int64_t rows) {
  return rows >= kTensorRows ? int64_t{SparseShape::kM} : int64_t{kGatherWords};
}

// Few rows: a block a chunk, so that one example fills the GPU. Many rows: as few splits as fill
// it four times over. Either way a result depends on the chunks alone, never on the splits.
void plan_sparse(SparseArgs& args, int64_t processors) {
  const bool tensor = args.R >= kTensorRows;
  args.chunks = ceil_div(std::max<int64_t>(args.K, args.k), words_of_chunk(args.R));
  args.row_tiles = tensor ? ceil_div(args.R, SparseShape::kN) : 1;
  const int64_t blocks = std::max<int64_t>(1, args.B * args.row_tiles);
  const int64_t wanted = ceil_div(4 * processors, blocks);
  args.chunks_per_split =
      ceil_div(args.chunks, std::clamp<int64_t>(wanted, 1, std::max<int64_t>(1, args.chunks)));
  args.splits = args.chunks_per_split == 0 ? 0 : ceil_div(args.chunks, args.chunks_per_split);
}

template <class T>
static void launch_gather(const SparseArgs& args, Stream stream) {
  const int64_t blocks = args.B * args.splits;
  const size_t shared = gather_shared_bytes(args.k);
  const int threads = kGatherWarps * 32;
  if (args.R == 1) return launch(gather_kernel<T, 1>, blocks, threads, shared, stream, args);
  if (args.R <= 4) return launch(gather_kernel<T, 4>, blocks, threads, shared, stream, args);
  launch(gather_kernel<T, 8>, blocks, threads, shared, stream, args);
}

void launch_sparse(const SparseCall& call, Stream stream) {
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
