// What is done with the products of one chunk of words: statistics of the softmax, and the task.
#pragma once

#include "sparse_args.cuh"

namespace dvs2s::gpu {

// Two logits of one row and chunk; a chunk of 32 words has no second.
struct Pair {
  float low, high;
};

template <class T>
DVS2S_DEVICE void put_gradient(
    const SparseArgs& args, int64_t row, const WordTerms& word, float logit, float lse, float grad,
    int64_t target) {
  float d = 0.0f;
  // an ignored row, and a word that is not there, leave exact zeros, whatever the logits are
  if (grad != 0.0f && word.is_there) {
    d = grad * (relative_exp(logit, lse) - (word.slot == target ? 1.0f : 0.0f));
  }
  static_cast<T*>(args.d_logits)[row * args.pitch + word.slot] = from_float<T>(d);
}

template <class T, int kWords>
DVS2S_DEVICE void gradient_of_row(
    const SparseArgs& args, int64_t row, const WordTerms (&words)[2], Pair z) {
  const int64_t target = args.targets[row];
  const float grad = target < 0 ? 0.0f : args.grad[row];
  const float lse = args.lse[row];
  put_gradient<T>(args, row, words[0], z.low, lse, grad, target);
  if constexpr (kWords == 64) put_gradient<T>(args, row, words[1], z.high, lse, grad, target);
}

DVS2S_DEVICE Stat stat_of_row(Pair z) {
  const float top = warp_max(fmaxf(z.low, z.high));
  return Stat{top, warp_sum(relative_exp(z.low, top) + relative_exp(z.high, top))};
}

// One warp's work on one row of a chunk. `list` is the row's running list of the k best.
template <class T, int kWords>
DVS2S_DEVICE void finish_row(
    const SparseArgs& args, int64_t row, int64_t chunk, const WordTerms (&words)[2], Pair z,
    uint64_t* list) {
  const int lane = thread_index() % 32;
  if (args.task == Task::kGradient) return gradient_of_row<T, kWords>(args, row, words, z);
  const Stat stat = stat_of_row(z);
  if (lane == 0) args.stats[row * args.chunks + chunk] = stat;
  if (args.task == Task::kBest) {
    const auto low = static_cast<uint32_t>(words[0].slot);
    const auto high = static_cast<uint32_t>(words[1].slot);
    const Best candidates{rank_of(z.low, low), kWords == 64 ? rank_of(z.high, high) : 0};
    return add_candidates(list, candidates, args.k, lane);
  }
  if (args.task == Task::kLogits) {
    float* logits = args.logits + row * args.K;
    if (words[0].slot < args.K) logits[words[0].slot] = z.low;
    if (kWords == 64 && words[1].slot < args.K) logits[words[1].slot] = z.high;
    return;
  }
  const int64_t target = args.targets[row];
  if (words[0].slot == target) args.target_logits[row] = z.low;
  if (kWords == 64 && words[1].slot == target) args.target_logits[row] = z.high;
}

// The block's work on one chunk, after its products stand in `tile`: kRows rows of `pitch` floats.
// A warp takes rows warp, warp + kWarps, ...
template <class T, int kWords, int kRows, int kWarps>
DVS2S_DEVICE void finish_chunk(
    const SparseArgs& args, int64_t b, int64_t first_row, int64_t chunk, const float* tile,
    int pitch, uint64_t* lists) {
  const int lane = thread_index() % 32, warp = thread_index() / 32;
  const int64_t slot = chunk * kWords + lane;
  const WordTerms words[2] = {word_terms(args, b, slot), word_terms(args, b, slot + 32)};
  for (int i = warp; i < kRows && first_row + i < args.R; i += kWarps) {
    const float* products = tile + i * pitch;
    const Pair z{words[0].logit(products[lane]),
                 kWords == 64 ? words[1].logit(products[lane + kWords / 2]) : minus_infinity()};
    finish_row<T, kWords>(args, b * args.R + first_row + i, chunk, words, z, lists + i * args.k);
  }
}

// Which part of the whole a block has.
struct Part {
  int64_t b, first_row, split, first_chunk, num_chunks;
};

template <int kWords, int kRows>
DVS2S_DEVICE Part part_of_block(const SparseArgs& args) {
  int64_t index = block_index();
  const int64_t tile = index % args.row_tiles;  // neighbours in time share the weight rows
  index /= args.row_tiles;
  const int64_t split = index % args.splits, b = index / args.splits;
  const int64_t first = split * args.chunks_per_split;
  const int64_t left = args.live_chunks<kWords>(b) - first;
  const int64_t count = left < args.chunks_per_split ? left : args.chunks_per_split;
  return Part{b, tile * kRows, split, first, count > 0 ? count : 0};
}

// -inf for the slots of dead chunks of the part.
template <int kWords, int kRows>
DVS2S_DEVICE void fill_dead_logits(const SparseArgs& args, const Part& part) {
  const int64_t begin = (part.first_chunk + part.num_chunks) * kWords;
  int64_t end = (part.first_chunk + args.chunks_per_split) * kWords;
  if (end > args.K) end = args.K;
  for (int i = 0; i < kRows && part.first_row + i < args.R; ++i) {
    float* logits = args.logits + (part.b * args.R + part.first_row + i) * args.K;
    for (int64_t slot = begin + thread_index(); slot < end; slot += block_size()) {
      logits[slot] = minus_infinity();
    }
  }
}

template <int kRows>
DVS2S_DEVICE void clear_lists(const SparseArgs& args, uint64_t* lists) {
  for (int i = thread_index(); i < kRows * args.k; i += block_size()) lists[i] = 0;
}

// Hands the block's lists to the kernel that joins the splits.
template <int kRows>
DVS2S_DEVICE void write_lists(const SparseArgs& args, const Part& part, const uint64_t* lists) {
  sync_block();
  for (int i = thread_index(); i < kRows * args.k; i += block_size()) {
    const int64_t row = part.first_row + i / args.k;
    if (row >= args.R) continue;
    const int64_t list = (part.b * args.R + row) * args.splits + part.split;
    args.best[list * args.k + i % args.k] = lists[i];
  }
}

}  // namespace dvs2s::gpu
