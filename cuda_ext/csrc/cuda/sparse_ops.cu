// Sparse logits, top-k and cross-entropy, forward.
#include "join_kernel.cuh"
#include "sparse_host.cuh"

namespace dvs2s::gpu {
namespace {

// The second launch: joins the parts that the blocks left. lse is written; the rest by task.
JoinArgs join_args(const SparseArgs& args, const Tensor& lse) {
  JoinArgs join{};
  join.task = args.task;
  join.lengths = args.lengths;
  join.stats = args.stats;
  join.rows = args.B * args.R;
  join.R = args.R;
  join.K = args.K;
  join.chunks = args.chunks;
  join.splits = args.splits;
  join.chunks_per_split = args.chunks_per_split;
  join.words = static_cast<int>(words_of_chunk(args.R));
  join.lse = data<float>(lse);
  join.k = args.k;
  join.best = args.best;
  join.targets = args.targets;
  join.target_logits = args.target_logits;
  return join;
}

void launch_join(const JoinArgs& join, Stream stream) {
  launch(join_kernel, ceil_div(join.rows * 32, kJoinThreads), kJoinThreads, 0, stream, join);
}

// Room for the statistics of every row and chunk, a (largest, sum) pair each.
Tensor stats_room(SparseArgs& args, const Tensor& like) {
  Tensor stats = empty(like, {args.B * args.R, args.chunks, 2});
  args.stats = static_cast<Stat*>(stats.data_ptr());
  return stats;
}

}  // namespace

std::tuple<Tensor, Tensor> sparse_logits_lse(
    Tensor hidden, Tensor weight, Tensor bias, Tensor ids, Tensor lengths, MaybeTensor scales) {
  SparseCall call = sparse_call(Task::kLogits, hidden, weight, bias, ids, lengths, scales);
  const Place place(hidden);
  SparseArgs& args = call.args;
  plan_sparse(args, place.num_processors());
  const Tensor stats = stats_room(args, hidden);
  const Tensor logits = empty(hidden, {args.B, args.R, args.K});
  const Tensor lse = empty(hidden, {args.B, args.R});
  args.logits = data<float>(logits);
  launch_sparse(call, place.stream());
  launch_join(join_args(args, lse), place.stream());
  return {logits, lse};
}

std::tuple<Tensor, Tensor, Tensor> sparse_topk(
    Tensor hidden, Tensor weight, Tensor bias, Tensor ids, Tensor lengths, MaybeTensor scales,
    int64_t k) {
  STD_TORCH_CHECK(
      k >= 1 && k <= kMostBest, "k must be in 1..", kMostBest, ", got ", k,
      ": take the logits and sort them for more");
  SparseCall call = sparse_call(Task::kBest, hidden, weight, bias, ids, lengths, scales);
  const Place place(hidden);
  SparseArgs& args = call.args;
  args.k = static_cast<int>(k);
  plan_sparse(args, place.num_processors());
  const Tensor stats = stats_room(args, hidden);
  const Tensor lists = empty(hidden, {args.B * args.R, args.splits, k}, ScalarType::Long);
  const Tensor scores = empty(hidden, {args.B, args.R, k});
  const Tensor slots = empty(hidden, {args.B, args.R, k}, ScalarType::Long);
  const Tensor lse = empty(hidden, {args.B, args.R});
  args.best = static_cast<uint64_t*>(lists.data_ptr());
  JoinArgs join = join_args(args, lse);
  join.scores = data<float>(scores);
  join.slots = data<int64_t>(slots);
  launch_sparse(call, place.stream());
  launch_join(join, place.stream());
  return {scores, slots, lse};
}

std::tuple<Tensor, Tensor> sparse_cross_entropy_forward(
    Tensor hidden, Tensor weight, Tensor bias, Tensor ids, Tensor lengths, Tensor targets) {
  SparseCall call =
      sparse_call(Task::kCrossEntropy, hidden, weight, bias, ids, lengths, std::nullopt);
  const Place place(hidden);
  SparseArgs& args = call.args;
  check_shape(targets, "targets", {args.B, args.R}, "(B, R)");
  check_type(targets, "targets", {ScalarType::Long}, "int64");
  check_like(targets, "targets", hidden);
  const Tensor dense_targets = dense(targets);
  plan_sparse(args, place.num_processors());
  const Tensor stats = stats_room(args, hidden);
  const Tensor target_logits = empty(hidden, {args.B, args.R});
  const Tensor loss = empty(hidden, {args.B, args.R});
  const Tensor lse = empty(hidden, {args.B, args.R});
  args.targets = data<int64_t>(dense_targets);
  args.target_logits = data<float>(target_logits);
  JoinArgs join = join_args(args, lse);
  join.loss = data<float>(loss);
  launch_sparse(call, place.stream());
  launch_join(join, place.stream());
  return {loss, lse};
}

}  // namespace dvs2s::gpu
