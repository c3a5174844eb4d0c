// M partition sums a row from one pass over the whole vocabulary, and their gradient by chunks.
//
// A tile's exponentials are taken once, relative to the tile's largest logit, and shared by the M
// samples. That could underflow for a sample whose own words lie far below the largest; where a
// sample's sum is below 1e-25 (float32 holds 1e-38) it is taken again relative to the sample's own
// largest logit, so that no sum loses its digits. Parts are joined as (largest, sum) pairs.
#pragma once

#include "product.cuh"

namespace dvs2s::gpu {

using MonteCarloShape = Shape<4, 2, 2, 4>;  // 128 words x 64 rows
constexpr int kMostSamples = 64;
constexpr int kThinThreads = 128;  // of the kernels with a thread an item
constexpr float kLeastSum = 1e-25f;

struct MonteCarloArgs {
  Matrix hidden, weight;   // (B·R, H), (V, H)
  Floats bias;             // (V)
  const uint32_t* members; // (B, M, mask_words): bit i % 32 of word i / 32
  int64_t mask_words, rows, R, M;
  int64_t first_word, end_word;  // the words of this launch; first_word is a multiple of 128
  int64_t row_tiles, chunks, chunks_per_split, splits;
  Stat* stats;             // forward: (B·R, M, splits)
  const float* grad;       // backward: (B·R, M)
  const float* lse;        // backward: (B·R, M)
  const int64_t* targets;  // backward: (B·R) words, negative: none
  void* d_logits;          // backward: (B·R, pitch) of hidden's type
  int64_t pitch;
};

inline size_t monte_carlo_shared_bytes(int64_t samples) {
  using S = MonteCarloShape;
  return static_cast<size_t>(kStages) * S::kStageBytes + S::kTileBytes +
      static_cast<size_t>(S::kN) * static_cast<size_t>(samples) * sizeof(Stat);
}

// A lane's four words of a chunk: lane, lane + 32, ... of 128.
struct Four {
  float values[4];
};

DVS2S_DEVICE Four bias_of_chunk(const MonteCarloArgs& args, int64_t first) {
  Four bias;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const int64_t word = first + j * 32 + thread_index() % 32;
    bias.values[j] = word < args.end_word ? args.bias.at(word) : 0.0f;
  }
  return bias;
}

// Bits of this lane's words of the chunk at `first`: bit j for word j * 32 + lane.
DVS2S_DEVICE uint32_t members_of(
    const MonteCarloArgs& args, int64_t b, int64_t sample, int64_t first) {
  const uint32_t* words = args.members + (b * args.M + sample) * args.mask_words + first / 32;
  const int lane = thread_index() % 32;
  uint32_t bits = 0;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const int64_t word = first + j * 32 + lane;
    if (word < args.end_word) bits |= (words[j] >> lane & 1u) << j;
  }
  return bits;
}

DVS2S_DEVICE float sum_members(const Four& e, uint32_t bits) {
  float sum = 0.0f;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    if (bits >> j & 1u) sum += e.values[j];  // never a product: what is not in must not leak
  }
  return warp_sum(sum);
}

DVS2S_DEVICE Four relative_exps(const Four& z, float top) {
  Four e;
#pragma unroll
  for (int j = 0; j < 4; ++j) e.values[j] = relative_exp(z.values[j], top);
  return e;
}

DVS2S_DEVICE float largest(const Four& z, uint32_t bits) {
  float top = minus_infinity();
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    if (bits >> j & 1u) top = fmaxf(top, z.values[j]);
  }
  return warp_max(top);
}

// One warp's work on a row of a chunk: adds the chunk to the row's M running statistics.
DVS2S_DEVICE void add_to_stats(
    const MonteCarloArgs& args, int64_t b, int64_t first, const Four& z, Stat* running) {
  const float top = largest(z, 0xfu);
  const Four e = relative_exps(z, top);
  for (int64_t sample = 0; sample < args.M; ++sample) {
    const uint32_t bits = members_of(args, b, sample, first);
    if (ballot(bits != 0) == 0) continue;
    Stat part{top, sum_members(e, bits)};
    if (!(part.sum >= kLeastSum) || !(part.sum <= 128.0f)) {  // too small, NaN or infinite
      part.top = largest(z, bits);
      part.sum = sum_members(relative_exps(z, part.top), bits);
    }
    if (thread_index() % 32 == 0) running[sample] = merge(running[sample], part);
  }
}

// d_logits of a row of a chunk: Σ over samples of grad · p, less Σ grad at the target.
template <class T>
DVS2S_DEVICE void put_gradients(
    const MonteCarloArgs& args, int64_t row, int64_t first, const Four& z) {
  const int64_t b = row / args.R, target = args.targets[row];
  Four d{};
  float total = 0.0f;
  for (int64_t sample = 0; sample < args.M; ++sample) {
    const float grad = args.grad[row * args.M + sample];
    if (grad == 0.0f) continue;
    total += grad;
    const uint32_t bits = members_of(args, b, sample, first);
    if (ballot(bits != 0) == 0) continue;
    const float lse = args.lse[row * args.M + sample];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (bits >> j & 1u) d.values[j] += grad * relative_exp(z.values[j], lse);
    }
  }
  T* out = static_cast<T*>(args.d_logits) + row * args.pitch;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const int64_t word = first + j * 32 + thread_index() % 32;
    out[word - args.first_word] = from_float<T>(d.values[j] - (word == target ? total : 0.0f));
  }
}

// The block's work on one chunk, after its products stand in `tile`.
template <class T, bool kBackward>
DVS2S_DEVICE void finish_words(
    const MonteCarloArgs& args, int64_t row0, int64_t first, const float* tile, Stat* running) {
  using S = MonteCarloShape;
  const int lane = thread_index() % 32, warp = thread_index() / 32;
  const Four bias = bias_of_chunk(args, first);
  for (int i = warp; i < S::kN && row0 + i < args.rows; i += S::kThreads / 32) {
    Four z;
#pragma unroll
    for (int j = 0; j < 4; ++j) z.values[j] = tile[i * S::kPitch + j * 32 + lane] + bias.values[j];
    if constexpr (kBackward) put_gradients<T>(args, row0 + i, first, z);
    else add_to_stats(args, (row0 + i) / args.R, first, z, running + i * args.M);
  }
}

// A block multiplies the chunks of one split for one tile of rows. kBackward has one chunk a split.
template <class T, bool kBackward>
DVS2S_KERNEL(MonteCarloShape::kThreads, sizeof(T) == 4 ? 1 : 2)
monte_carlo_kernel(MonteCarloArgs args) {
  using S = MonteCarloShape;
  const int64_t row0 = block_index() % args.row_tiles * S::kN;
  const int64_t split = block_index() / args.row_tiles;
  const int64_t first_chunk = split * args.chunks_per_split;
  const int64_t left = args.chunks - first_chunk;
  char* stages = shared_memory();
  float* tile = reinterpret_cast<float*>(stages + kStages * S::kStageBytes);
  Stat* running = reinterpret_cast<Stat*>(tile + S::kN * S::kPitch);
  const int cells = kBackward ? 0 : S::kN * static_cast<int>(args.M);
  for (int i = thread_index(); i < cells; i += S::kThreads) running[i] = empty_stat();
  const auto first_word_of = [&](int64_t chunk) {
    return args.first_word + (first_chunk + chunk) * S::kM;
  };
  Rows<S::kN, S::kThreads> hidden_rows;
  hidden_rows.find([&](int i) -> const void* {
    return row0 + i < args.rows ? args.hidden.row<T>(row0 + i) : nullptr;
  });
  multiply_chunks<T, S>(
      stages, args.weight, args.hidden, hidden_rows,
      left < args.chunks_per_split ? left : args.chunks_per_split,
      [&](int64_t chunk, int i) -> const void* {
        const int64_t word = first_word_of(chunk) + i;
        return word < args.end_word ? args.weight.row<T>(word) : nullptr;
      },
      [&](int64_t chunk, const Sums<S>& sums) {
        sums.write(tile);
        sync_block();  // the tile is read before the next chunk's first barrier, written after
        finish_words<T, kBackward>(args, row0, first_word_of(chunk), tile, running);
      });
  sync_block();
  for (int i = thread_index(); i < cells; i += S::kThreads) {
    const int64_t row = row0 + i / args.M, sample = i % args.M;
    if (row < args.rows) args.stats[(row * args.M + sample) * args.splits + split] = running[i];
  }
}

// One thread a row and sample: joins its splits in order.
DVS2S_KERNEL(kThinThreads, 8) join_samples_kernel(
    const Stat* stats, int64_t count, int64_t splits, float* lse) {
  const int64_t i = block_index() * block_size() + thread_index();
  if (i >= count) return;
  Stat stat = empty_stat();
  for (int64_t split = 0; split < splits; ++split) stat = merge(stat, stats[i * splits + split]);
  lse[i] = stat.log_sum();
}

// Bits of the words that are in a vocabulary of any example, or a target: what the gradient of
// hidden may read.
DVS2S_KERNEL(kThinThreads, 8) used_words_kernel(
    const uint32_t* members, int64_t vocabularies, int64_t mask_words, const int64_t* targets,
    int64_t rows, int64_t V, uint32_t* used) {
  const int64_t i = block_index() * block_size() + thread_index();
  uint32_t bits = 0;
  if (i < mask_words) {
    for (int64_t v = 0; v < vocabularies; ++v) bits |= members[v * mask_words + i];
    if (bits != 0) or_atomic(used + i, bits);
  }
  if (i < rows && targets[i] >= 0 && targets[i] < V) {
    or_atomic(used + targets[i] / 32, 1u << (targets[i] % 32));
  }
}

}  // namespace dvs2s::gpu
