// The kernels over an example's own words: many rows on tensor cores, few rows by warps.
#pragma once

#include "sparse_chunk.cuh"

namespace dvs2s::gpu {

using SparseShape = Shape<4, 1, 1, 4>;  // 64 words x 32 rows
constexpr int kGatherWords = 32, kGatherWarps = 8, kGatherRows = 8, kGatherPitch = 36;

inline size_t tensor_shared_bytes(int k) {
  return static_cast<size_t>(kStages) * SparseShape::kStageBytes + SparseShape::kTileBytes +
      static_cast<size_t>(SparseShape::kN) * static_cast<size_t>(k) * sizeof(uint64_t);
}
inline size_t gather_shared_bytes(int k) {
  return static_cast<size_t>(kGatherRows) *
      (kGatherPitch * sizeof(float) + static_cast<size_t>(k) * sizeof(uint64_t));
}

// R >= 8: 64 words by 32 rows a step.
template <class T>
DVS2S_KERNEL(SparseShape::kThreads, sizeof(T) == 4 ? 1 : 3) tensor_kernel(SparseArgs args) {
  using S = SparseShape;
  const Part part = part_of_block<S::kM, S::kN>(args);
  char* stages = shared_memory();
  float* tile = reinterpret_cast<float*>(stages + kStages * S::kStageBytes);
  auto* lists = reinterpret_cast<uint64_t*>(tile + S::kN * S::kPitch);
  if (args.task == Task::kLogits) fill_dead_logits<S::kM, S::kN>(args, part);
  if (part.num_chunks == 0) return;
  clear_lists<S::kN>(args, lists);
  Rows<S::kN, S::kThreads> hidden_rows;
  hidden_rows.find([&](int i) -> const void* {
    const int64_t row = part.first_row + i;
    return row < args.R ? args.hidden.row<T>(part.b * args.R + row) : nullptr;
  });
  multiply_chunks<T, S>(
      stages, args.weight, args.hidden, hidden_rows, part.num_chunks,
      [&](int64_t chunk, int i) {
        return args.word_row<T>(part.b, (part.first_chunk + chunk) * S::kM + i);
      },
      [&](int64_t chunk, const Sums<S>& sums) {
        sums.write(tile);
        sync_block();  // the tile is read before the next chunk's first barrier, written after
        finish_chunk<T, S::kM, S::kN, S::kThreads / 32>(
            args, part.b, part.first_row, part.first_chunk + chunk, tile, S::kPitch, lists);
      });
  if (args.task == Task::kBest) write_lists<S::kN>(args, part, lists);
}

// The values of a unit of T.
template <class T>
DVS2S_DEVICE void widen(float (&out)[kUnit<T>], const Unit& unit) {
  union {
    Unit whole;
    T values[kUnit<T>];
  };
  whole = unit;
#pragma unroll
  for (int i = 0; i < kUnit<T>; ++i) out[i] = to_float(values[i]);
}

// Products of 4 words with kRows hidden rows of example b by one warp, each lane over its share of
// the depth; lane 0 writes them to tile[row * kGatherPitch + word].
template <class T, int kRows, Reading kWords, Reading kHidden>
DVS2S_DEVICE void multiply_four(
    const SparseArgs& args, int64_t b, const void* const (&words)[4], float* tile) {
  const int lane = thread_index() % 32;
  const int64_t width = args.hidden.width;
  float sums[4][kRows] = {};
#pragma unroll (kRows == 1 ? 2 : 1)
  for (int64_t k = lane * kUnit<T>; k < width; k += 32 * kUnit<T>) {
    Unit packed[4];
    float w[4][kUnit<T>];
#pragma unroll
    for (int i = 0; i < 4; ++i) packed[i] = read_unit<T, kWords>(words[i], k, width);
#pragma unroll
    for (int i = 0; i < 4; ++i) widen<T>(w[i], packed[i]);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const void* row = r < args.R ? args.hidden.row<T>(b * args.R + r) : nullptr;
      float x[kUnit<T>];
      widen<T>(x, read_unit<T, kHidden>(row, k, width));
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int e = 0; e < kUnit<T>; ++e) sums[i][r] += w[i][e] * x[e];
      }
    }
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float sum = warp_sum(sums[i][r]);
      if (lane == 0) tile[r * kGatherPitch + i] = sum;
    }
  }
}

// The same, whatever way the operands are read: the choice stands outside of the loops.
template <class T, int kRows>
DVS2S_DEVICE void multiply_four_any(
    const SparseArgs& args, int64_t b, const void* const (&words)[4], float* tile) {
  constexpr Reading kUnits = Reading::kUnits, kElements = Reading::kElements;
  constexpr Reading kInt8Units = Reading::kInt8Units, kInt8Elements = Reading::kInt8Elements;
  const Reading reading = args.weight.reading;
  if (args.hidden.reading == kUnits && reading == kUnits) {
    multiply_four<T, kRows, kUnits, kUnits>(args, b, words, tile);
  } else if (args.hidden.reading == kUnits && reading == kInt8Units) {
    multiply_four<T, kRows, kInt8Units, kUnits>(args, b, words, tile);
  } else if (reading == kUnits || reading == kElements) {
    multiply_four<T, kRows, kElements, kElements>(args, b, words, tile);
  } else {
    multiply_four<T, kRows, kInt8Elements, kElements>(args, b, words, tile);
  }
}

// R <= kRows < 8: chunks of 32 words, 4 words a warp, the depth split over its lanes.
template <class T, int kRows>
DVS2S_KERNEL(kGatherWarps * 32, kRows == 1 ? 2 : 1) gather_kernel(SparseArgs args) {
  const Part part = part_of_block<kGatherWords, kGatherRows>(args);
  float* tile = reinterpret_cast<float*>(shared_memory());
  auto* lists = reinterpret_cast<uint64_t*>(tile + kGatherRows * kGatherPitch);
  const int warp = thread_index() / 32;
  if (args.task == Task::kLogits) fill_dead_logits<kGatherWords, kGatherRows>(args, part);
  if (part.num_chunks == 0) return;
  clear_lists<kGatherRows>(args, lists);
  for (int64_t chunk = part.first_chunk; chunk < part.first_chunk + part.num_chunks; ++chunk) {
    const void* words[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      words[i] = args.word_row<T>(part.b, chunk * kGatherWords + warp * 4 + i);
    }
    sync_block();  // the tile of the chunk before has been read
    multiply_four_any<T, kRows>(args, part.b, words, tile + warp * 4);
    sync_block();
    finish_chunk<T, kGatherWords, kRows, kGatherWarps>(
        args, part.b, 0, chunk, tile, kGatherPitch, lists);
  }
  if (args.task == Task::kBest) write_lists<kGatherRows>(args, part, lists);
}

}  // namespace dvs2s::gpu
