// Monte Carlo partition sums and their gradient.
#include "gradient_kernels.cuh"
#include "monte_carlo_kernels.cuh"
#include "operators.cuh"

namespace dvs2s::gpu {
namespace {

constexpr int64_t kMostSplits = 32;
#ifdef DVS2S_EMULATE
constexpr int64_t kWorkspaceBytes = 16 << 10;  // so small that tests have several chunks
#else
constexpr int64_t kWorkspaceBytes = 8 << 20;  // of the gradient of a chunk's logits
#endif

struct MonteCarloCall {
  Tensor hidden, weight, bias, members;
  Sizes sizes{};
  MonteCarloArgs args{};
};

MonteCarloCall monte_carlo_call(
    const Tensor& hidden, const Tensor& weight, const Tensor& bias, const Tensor& members,
    int64_t num_samples) {
  const Sizes s = check_layer(hidden, weight, bias);
  STD_TORCH_CHECK(
      weight.scalar_type() == hidden.scalar_type(), "weight must be of hidden's type: convert one");
  STD_TORCH_CHECK(
      num_samples >= 1 && num_samples <= kMostSamples, "num_samples must be in 1..", kMostSamples,
      ", got ", num_samples);
  const int64_t mask_words = ceil_div(s.V, 32);
  check_shape(
      members, "membership_bits", {s.B, num_samples, mask_words}, "(B, M, ceil(V / 32))");
  check_type(members, "membership_bits", {ScalarType::Int}, "int32");
  check_like(members, "membership_bits", hidden);
  MonteCarloCall call{dense(hidden), dense(weight), dense(bias), dense(members), s};
  MonteCarloArgs& args = call.args;
  args.hidden = matrix(call.hidden, hidden);
  args.weight = matrix(call.weight, hidden);
  args.bias = floats(call.bias, "bias");
  args.members = static_cast<const uint32_t*>(call.members.data_ptr());
  args.mask_words = mask_words;
  args.rows = s.B * s.R;
  args.R = s.R;
  args.M = num_samples;
  args.row_tiles = ceil_div(args.rows, MonteCarloShape::kN);
  args.end_word = s.V;
  return call;
}

// Everything after the gradient of the logits of one chunk of words.
template <class T>
void launch_gradients(const BackwardArgs& chunk, Stream stream) {
  using S = LargeGradient;
  BackwardArgs args = chunk;
  args.row_tiles = ceil_div(args.R, S::kN);
  args.width_tiles = ceil_div(args.H, S::kM);
  launch(
      hidden_gradient_kernel<T, S>, args.row_tiles * args.width_tiles, S::kThreads,
      staged_bytes<S>(), stream, args);
  args.width_tiles = ceil_div(args.H, S::kN);
  args.slot_tiles = ceil_div(args.K, S::kM);
  launch(
      weight_gradient_kernel<T, S, false>, args.slot_tiles * args.width_tiles, S::kThreads,
      staged_bytes<S>(), stream, args);
  args.slot_tiles = ceil_div(args.K, 32);
  launch(
      bias_gradient_kernel<T, false>, args.slot_tiles, kBiasWarps * 32,
      kBiasWarps * 32 * sizeof(float), stream, args);
}

template <class T>
void launch_chunk(MonteCarloArgs args, BackwardArgs backward, Stream stream) {
  using S = MonteCarloShape;
  args.chunks = ceil_div(args.end_word - args.first_word, S::kM);
  args.splits = args.chunks;
  args.chunks_per_split = 1;
  launch(
      monte_carlo_kernel<T, true>, args.row_tiles * args.splits, S::kThreads,
      monte_carlo_shared_bytes(0), stream, args);
  backward.first_word = args.first_word;
  backward.K = args.end_word - args.first_word;
  backward.add = args.first_word > 0;
  launch_gradients<T>(backward, stream);
}

struct Gradients {
  Tensor hidden, weight, bias;
};

void check_backward(
    const MonteCarloCall& call, const Tensor& grad, const Tensor& lse, const Tensor& targets) {
  const Sizes& s = call.sizes;
  check_shape(grad, "grad", {s.B, s.R, call.args.M}, "(B, R, M)");
  check_shape(lse, "lse", {s.B, s.R, call.args.M}, "(B, R, M)");
  check_shape(targets, "targets", {s.B, s.R}, "(B, R)");
  check_type(grad, "grad", {ScalarType::Float}, "float32");
  check_type(lse, "lse", {ScalarType::Float}, "float32");
  check_type(targets, "targets", {ScalarType::Long}, "int64");
  check_like(grad, "grad", call.hidden);
  check_like(lse, "lse", call.hidden);
  check_like(targets, "targets", call.hidden);
}

// Words at once: as many whole tiles as the workspace holds.
int64_t words_at_once(const MonteCarloCall& call) {
  const int64_t tile = MonteCarloShape::kM;
  const auto word_bytes = static_cast<int64_t>(call.hidden.element_size()) * call.args.rows;
  const int64_t tiles = std::max<int64_t>(1, kWorkspaceBytes / word_bytes / tile);
  return std::min(ceil_div(call.sizes.V, tile), tiles) * tile;
}

// The words that the gradient of hidden may read, a bit each.
Tensor used_words(const MonteCarloArgs& args, const Sizes& s, const Tensor& like, Stream stream) {
  Tensor used = zeros(like, {args.mask_words}, ScalarType::Int);
  launch(
      used_words_kernel, ceil_div(std::max(args.mask_words, args.rows), kThinThreads),
      kThinThreads, 0, stream, args.members, s.B * args.M, args.mask_words, args.targets,
      args.rows, s.V, static_cast<uint32_t*>(used.data_ptr()));
  return used;
}

void launch_backward(MonteCarloCall& call, const Gradients& out, Stream stream) {
  MonteCarloArgs& args = call.args;
  const int64_t chunk = words_at_once(call);
  const Tensor d_logits = empty(call.hidden, {args.rows, chunk}, call.hidden.scalar_type());
  const Tensor used = used_words(args, call.sizes, call.hidden, stream);
  args.d_logits = d_logits.data_ptr();
  args.pitch = chunk;
  BackwardArgs backward{};
  backward.weight = args.weight;
  backward.hidden = args.hidden;
  backward.B = 1;
  backward.R = args.rows;
  backward.V = call.sizes.V;
  backward.H = call.sizes.H;
  backward.d_logits = args.d_logits;
  backward.pitch = chunk;
  backward.used = static_cast<const uint32_t*>(used.data_ptr());
  backward.d_hidden = data<float>(out.hidden);
  backward.d_weight = data<float>(out.weight);
  backward.d_bias = data<float>(out.bias);
  for_type(call.hidden, [&](auto zero) {
    for (int64_t first = 0; first < call.sizes.V; first += chunk) {
      args.first_word = first;
      args.end_word = std::min(call.sizes.V, first + chunk);
      launch_chunk<decltype(zero)>(args, backward, stream);
    }
  });
}

}  // namespace

Tensor monte_carlo_lse(
    Tensor hidden, Tensor weight, Tensor bias, Tensor membership_bits, int64_t num_samples) {
  MonteCarloCall call = monte_carlo_call(hidden, weight, bias, membership_bits, num_samples);
  using S = MonteCarloShape;
  const Place place(hidden);
  MonteCarloArgs& args = call.args;
  const Tensor lse = empty(hidden, {call.sizes.B, args.R, args.M});
  if (args.rows == 0) return lse;
  args.chunks = ceil_div(call.sizes.V, S::kM);
  args.chunks_per_split = ceil_div(args.chunks, kMostSplits);  // of V alone: same sums in any batch
  args.splits = ceil_div(args.chunks, args.chunks_per_split);
  const Tensor stats = empty(hidden, {args.rows, args.M, args.splits, 2});
  args.stats = static_cast<Stat*>(stats.data_ptr());
  for_type(hidden, [&](auto zero) {
    launch(
        monte_carlo_kernel<decltype(zero), false>, args.row_tiles * args.splits, S::kThreads,
        monte_carlo_shared_bytes(args.M), place.stream(), args);
  });
  const int64_t count = args.rows * args.M;
  launch(
      join_samples_kernel, ceil_div(count, kThinThreads), kThinThreads, 0, place.stream(),
      args.stats, count, args.splits, data<float>(lse));
  return lse;
}

std::tuple<Tensor, Tensor, Tensor> monte_carlo_backward(
    Tensor grad, Tensor hidden, Tensor weight, Tensor bias, Tensor membership_bits, Tensor lse,
    Tensor targets, int64_t num_samples) {
  MonteCarloCall call = monte_carlo_call(hidden, weight, bias, membership_bits, num_samples);
  const Place place(hidden);
  const Sizes& s = call.sizes;
  check_backward(call, grad, lse, targets);
  if (call.args.rows == 0) {
    return {zeros(hidden, {s.B, s.R, s.H}), zeros(hidden, {s.V, s.H}), zeros(hidden, {s.V})};
  }
  const Tensor dense_grad = dense(grad), dense_lse = dense(lse), dense_targets = dense(targets);
  call.args.grad = data<float>(dense_grad);
  call.args.lse = data<float>(dense_lse);
  call.args.targets = data<int64_t>(dense_targets);
  const Gradients out{
      empty(hidden, {s.B, s.R, s.H}), empty(hidden, {s.V, s.H}), empty(hidden, {s.V})};
  launch_backward(call, out, place.stream());
  return {out.hidden, out.weight, out.bias};
}

}  // namespace dvs2s::gpu
