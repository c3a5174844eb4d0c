// Sparse cross-entropy, backward: the logits are computed again, their gradient kept for the call.
#include "gradient_kernels.cuh"
#include "sparse_host.cuh"

namespace dvs2s::gpu {
namespace {

struct Gradients {
  Tensor hidden, weight, bias;
};

// Writes the gradient of the logits, (B·R, pitch) of hidden's type.
Tensor d_logits_of(SparseCall& call, const Place& place) {
  SparseArgs& args = call.args;
  plan_sparse(args, place.num_processors());
  args.pitch = ceil_div(args.K, 64) * 64;
  Tensor d_logits =
      empty(call.hidden, {args.B * args.R, args.pitch}, call.hidden.scalar_type());
  args.d_logits = d_logits.data_ptr();
  launch_sparse(call, place.stream());
  return d_logits;
}

BackwardArgs backward_args(const SparseCall& call, const Tensor& d_logits, const Gradients& out) {
  const SparseArgs& from = call.args;
  BackwardArgs args{};
  args.d_logits = d_logits.data_ptr();
  args.pitch = from.pitch;
  args.weight = from.weight;
  args.hidden = from.hidden;
  args.ids = from.ids;
  args.lengths = from.lengths;
  args.B = from.B;
  args.R = from.R;
  args.K = from.K;
  args.V = from.V;
  args.H = call.H;
  args.d_hidden = data<float>(out.hidden);
  args.d_weight = data<float>(out.weight);
  args.d_bias = data<float>(out.bias);
  return args;
}

template <class T>
void launch_hidden(BackwardArgs args, Stream stream) {
  using S = SmallGradient;
  args.row_tiles = ceil_div(args.R, S::kN);
  args.width_tiles = ceil_div(args.H, S::kM);
  launch(
      hidden_gradient_kernel<T, S>, args.B * args.row_tiles * args.width_tiles, S::kThreads,
      staged_bytes<S>(), stream, args);
}

// Adds with atomics: fast, and the last bits depend on the order in which blocks arrive.
template <class T>
void launch_atomic(BackwardArgs args, Stream stream) {
  using S = SmallGradient;
  args.width_tiles = ceil_div(args.H, S::kN);
  args.slot_tiles = ceil_div(args.K, S::kM);
  launch(
      weight_gradient_kernel<T, S, true>, args.B * args.slot_tiles * args.width_tiles,
      S::kThreads, staged_bytes<S>(), stream, args);
  args.slot_tiles = ceil_div(args.K, 32);
  launch(
      bias_gradient_kernel<T, true>, args.B * args.slot_tiles, kBiasWarps * 32,
      kBiasWarps * 32 * sizeof(float), stream, args);
}

// A map from word and example to slot, and a block a word: always the same order of sums.
template <class T>
void launch_ordered(BackwardArgs args, const Tensor& like, Stream stream) {
  const Tensor slot_map = empty(like, {args.V, args.B}, ScalarType::Int);
  auto* slots = data<int32_t>(slot_map);
  const int64_t fill_blocks = std::min<int64_t>(ceil_div(args.V * args.B, kMapThreads), 65536);
  launch(
      fill_slot_map_kernel, fill_blocks, kMapThreads, 0, stream, slots, args.V * args.B);
  launch(
      write_slot_map_kernel, ceil_div(args.B * args.K, kMapThreads), kMapThreads, 0, stream, args,
      slots);
  args.slot_map = slots;
  args.width_tiles = ceil_div(args.H, kOrderedThreads * kOrderedWidths);
  launch(
      ordered_gradient_kernel<T>, args.V * args.width_tiles, kOrderedThreads, 0, stream, args);
}

void check_backward(
    const SparseCall& call, const Tensor& grad, const Tensor& targets, const Tensor& lse) {
  const auto rows = {std::pair{&grad, "grad"}, {&targets, "targets"}, {&lse, "lse"}};
  for (const auto& [tensor, name] : rows) {
    check_shape(*tensor, name, {call.args.B, call.args.R}, "(B, R)");
    check_like(*tensor, name, call.hidden);
  }
  check_type(targets, "targets", {ScalarType::Long}, "int64");
  check_type(grad, "grad", {ScalarType::Float}, "float32");
  check_type(lse, "lse", {ScalarType::Float}, "float32");
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor> sparse_cross_entropy_backward(
    Tensor grad, Tensor hidden, Tensor weight, Tensor bias, Tensor ids, Tensor lengths,
    Tensor targets, Tensor lse, bool deterministic) {
  SparseCall call = sparse_call(Task::kGradient, hidden, weight, bias, ids, lengths, std::nullopt);
  const Place place(hidden);
  SparseArgs& args = call.args;
  check_backward(call, grad, targets, lse);
  const Tensor dense_grad = dense(grad), dense_targets = dense(targets), dense_lse = dense(lse);
  args.grad = data<float>(dense_grad);
  args.targets = data<int64_t>(dense_targets);
  args.lse = data<float>(dense_lse);
  const bool is_empty = args.B * args.R * args.K == 0;
  const auto room = [&](std::initializer_list<int64_t> sizes, bool must_be_zero) {
    return must_be_zero || is_empty ? zeros(hidden, sizes) : empty(hidden, sizes);
  };
  const Gradients out{
      room({args.B, args.R, call.H}, false), room({args.V, call.H}, !deterministic),
      room({args.V}, !deterministic)};
  if (is_empty) return {out.hidden, out.weight, out.bias};
  const Tensor d_logits = d_logits_of(call, place);
  const BackwardArgs backward = backward_args(call, d_logits, out);
  for_type(hidden, [&](auto zero) {
    using T = decltype(zero);
    launch_hidden<T>(backward, place.stream());
    if (deterministic) launch_ordered<T>(backward, hidden, place.stream());
    else launch_atomic<T>(backward, place.stream());
  });
  return {out.hidden, out.weight, out.bias};
}

}  // namespace dvs2s::gpu
