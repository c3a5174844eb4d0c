// Joins what the blocks of the sparse kernels left: the normaliser, the k best, the loss.
#pragma once

#include "sparse_args.cuh"

namespace dvs2s::gpu {

struct JoinArgs {
  Task task;
  Integers lengths;
  const Stat* stats;       // (rows, chunks)
  int64_t rows, R, K, chunks, splits, chunks_per_split;
  int words;               // of a chunk
  float* lse;              // (rows)
  int k;
  const uint64_t* best;    // (rows, splits, k)
  float* scores;           // (rows, k)
  int64_t* slots;          // (rows, k)
  const int64_t* targets;  // (rows)
  const float* target_logits;
  float* loss;             // (rows)
};

// The k best of a row's splits, as log-probabilities.
DVS2S_DEVICE void join_best(
    const JoinArgs& args, int64_t row, int64_t live_chunks, int64_t length, float lse) {
  const int lane = thread_index() % 32;
  const int64_t live = (live_chunks + args.chunks_per_split - 1) / args.chunks_per_split;
  const uint64_t* lists = args.best + row * args.splits * args.k;
  Best best = read_best(lists, args.k, lane);
  for (int64_t split = 1; split < live; ++split) {
    best = merge_falling(best, read_best(lists + split * args.k, args.k, lane), lane);
  }
  for (int i = lane; i < args.k; i += 32) {
    const uint64_t rank = i < 32 ? best.low : best.high;
    const int64_t slot = slot_of(rank);
    args.slots[row * args.k + i] = slot;
    args.scores[row * args.k + i] = slot < length ? logit_of(rank) - lse : minus_infinity();
  }
}

// A slot past the length has probability 0; one past K is a mistake, shown as NaN.
DVS2S_DEVICE float loss_of(const JoinArgs& args, int64_t row, int64_t length, float lse) {
  const int64_t target = args.targets[row];
  if (target < 0) return 0.0f;
  if (target >= args.K) return not_a_number();
  return lse - (target < length ? args.target_logits[row] : minus_infinity());
}

constexpr int kJoinThreads = 128;

// One warp a row joins what the blocks left, in the order of the chunks whatever the splits were.
DVS2S_KERNEL(kJoinThreads, 8) join_kernel(JoinArgs args) {
  const int lane = thread_index() % 32;
  const int64_t row = (block_index() * block_size() + thread_index()) / 32;
  if (row >= args.rows) return;  // whole warps
  int64_t length = args.lengths.at(row / args.R);
  if (length > args.K) length = args.K;
  const int64_t slots = length < args.k ? args.k : length;
  const int64_t live_chunks = (slots + args.words - 1) / args.words;
  Stat stat = empty_stat();
  for (int64_t chunk = lane; chunk < live_chunks; chunk += 32) {
    stat = merge(stat, args.stats[row * args.chunks + chunk]);
  }
  const float lse = warp_merge(stat).log_sum();
  if (lane == 0) args.lse[row] = lse;
  if (args.task == Task::kBest) join_best(args, row, live_chunks, length, lse);
  if (args.task == Task::kCrossEntropy && lane == 0) {
    args.loss[row] = loss_of(args, row, length, lse);
  }
}

}  // namespace dvs2s::gpu
