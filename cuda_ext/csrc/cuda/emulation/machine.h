// The functions of platform.cuh on the emulated GPU of fibers.h.
#pragma once

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include "fibers.h"

#define DVS2S_KERNEL(threads, blocks) [[maybe_unused]] static void
#define DVS2S_DEVICE inline

namespace dvs2s::gpu {

using Stream = void*;

inline int thread_index() { return emulation::machine().current; }
inline int block_size() { return emulation::machine().threads; }
inline int64_t block_index() { return emulation::machine().block; }
inline int64_t num_blocks() { return emulation::machine().blocks; }
inline void sync_block() { emulation::wait_at(emulation::State::kAtBlock); }
inline void sync_warp() { emulation::wait_at(emulation::State::kAtWarp); }
inline char* shared_memory() { return emulation::machine().shared_start; }

template <class T>
inline T shuffle(T value, int lane) {
  if (lane < 0 || lane >= emulation::kLanes) emulation::fail("a shuffle from no lane");
  return emulation::take<T>(emulation::exchange(value)[lane]);
}
template <class T>
inline T shuffle_xor(T value, int mask) {
  return emulation::take<T>(emulation::exchange(value)[(thread_index() % 32) ^ mask]);
}
inline uint32_t ballot(bool yes) {
  const emulation::Parcel* all = emulation::exchange<uint32_t>(yes ? 1 : 0);
  uint32_t bits = 0;
  for (int i = 0; i < emulation::kLanes; ++i) bits |= all[i].words[0] << i;
  return bits;
}
inline int count_bits(uint32_t bits) { return __builtin_popcount(bits); }

inline void add_atomic(float* at, float value) { *at += value; }
inline void add_atomic(int* at, int value) { *at += value; }
inline void or_atomic(uint32_t* at, uint32_t bits) { *at |= bits; }
inline void add_atomic_pair(float* at, float x, float y) {
  at[0] += x;
  at[1] += y;
}

inline uint32_t float_bits(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
inline float bits_float(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
inline float half_to_float(uint16_t bits) {
  return torch::headeronly::detail::fp16_ieee_to_fp32_value(bits);
}
inline uint16_t float_to_half(float x) {
  return torch::headeronly::detail::fp16_ieee_from_fp32_value(x);
}
inline uint16_t float_to_bfloat(float x) {
  return torch::headeronly::detail::round_to_nearest_even(x);
}
inline uint32_t float_to_tf32(float x) {  // to nearest, ties away from zero
  const uint32_t bits = float_bits(x);
  if ((bits & 0x7f800000u) == 0x7f800000u) return bits;  // infinite, or NaN
  return (bits + 0x1000u) & 0xffffe000u;
}

inline void copy_async16(void* shared, const void* global, int bytes) {
  emulation::self().open.push_back({shared, global, bytes});
}
inline void commit_copies() {
  emulation::self().groups.push_back(std::move(emulation::self().open));
  emulation::self().open.clear();
}
template <int kPending>
inline void wait_copies() {
  auto& groups = emulation::self().groups;
  while (groups.size() > kPending) {
    emulation::arrive(groups.front());
    groups.erase(groups.begin());
  }
}

// PTX, "Matrix load instructions": thread i receives words i % 4 of row i / 4 of each matrix.
inline void load_matrices(uint32_t (&out)[4], const void* row) {
  if (reinterpret_cast<uintptr_t>(row) % 16 != 0) emulation::fail("a matrix row is not aligned");
  const emulation::Parcel* rows = emulation::exchange(row);
  const int lane = thread_index() % 32;
  for (int i = 0; i < 4; ++i) {
    const auto* from = emulation::take<const char*>(rows[8 * i + lane / 4]);
    std::memcpy(&out[i], from + lane % 4 * 4, 4);
  }
}

namespace emulation {

struct Operands {
  uint32_t a[4], b[2];
};

template <class Convert>
inline float half_of(uint32_t word, int which, Convert convert) {
  return convert(static_cast<uint16_t>(word >> (16 * which)));
}

// PTX, "Matrix fragments for mma.m16n8k16": row r, depth k of A is in lane (r % 8) * 4 + k % 8 / 2,
// register (r / 8) + 2 * (k / 8); depth k, column n of B in lane n * 4 + k % 8 / 2, register k / 8.
template <class Convert>
inline void multiply16(
    float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Convert convert) {
  const Operands mine{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
  const Parcel* all = exchange(mine);
  const int lane = thread_index() % 32;
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4 + 8 * (i / 2), column = lane % 4 * 2 + i % 2;
    float sum = c[i];
    for (int k = 0; k < 16; ++k) {
      const auto from_a = take<Operands>(all[row % 8 * 4 + k % 8 / 2]);
      const auto from_b = take<Operands>(all[column * 4 + k % 8 / 2]);
      sum += half_of(from_a.a[row / 8 + 2 * (k / 8)], k % 2, convert) *
          half_of(from_b.b[k / 8], k % 2, convert);
    }
    c[i] = sum;
  }
}

}  // namespace emulation

inline void multiply_bf16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  emulation::multiply16(
      c, a, b, [](uint16_t bits) { return bits_float(static_cast<uint32_t>(bits) << 16); });
}
inline void multiply_f16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  emulation::multiply16(c, a, b, half_to_float);
}
// PTX, mma.m16n8k8 for tf32: row r, depth k of A in lane (r % 8) * 4 + k % 4, register
// (r / 8) + 2 * (k / 4); depth k, column n of B in lane n * 4 + k % 4, register k / 4. The low 13
// bits of an operand are not read.
inline void multiply_tf32(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  const emulation::Operands mine{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
  const emulation::Parcel* all = emulation::exchange(mine);
  const int lane = thread_index() % 32;
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4 + 8 * (i / 2), column = lane % 4 * 2 + i % 2;
    float sum = c[i];
    for (int k = 0; k < 8; ++k) {
      const auto from_a = emulation::take<emulation::Operands>(all[row % 8 * 4 + k % 4]);
      const auto from_b = emulation::take<emulation::Operands>(all[column * 4 + k % 4]);
      sum += bits_float(from_a.a[row / 8 + 2 * (k / 4)] & 0xffffe000u) *
          bits_float(from_b.b[k / 4] & 0xffffe000u);
    }
    c[i] = sum;
  }
}

}  // namespace dvs2s::gpu
