// Element types, the statistics of a softmax, and keys that order logits.
#pragma once

#include <cmath>

#include "platform.cuh"

namespace dvs2s::gpu {

struct bf16 {
  uint16_t bits;
};
struct f16 {
  uint16_t bits;
};

DVS2S_DEVICE float to_float(float x) { return x; }
DVS2S_DEVICE float to_float(bf16 x) { return bits_float(static_cast<uint32_t>(x.bits) << 16); }
DVS2S_DEVICE float to_float(f16 x) { return half_to_float(x.bits); }
DVS2S_DEVICE float to_float(int8_t x) { return static_cast<float>(x); }

template <class T>
DVS2S_DEVICE T from_float(float x);
template <>
DVS2S_DEVICE float from_float<float>(float x) {
  return x;
}
template <>
DVS2S_DEVICE bf16 from_float<bf16>(float x) {
  return bf16{float_to_bfloat(x)};
}
template <>
DVS2S_DEVICE f16 from_float<f16>(float x) {
  return f16{float_to_half(x)};
}

// A tensor of float32, or of bfloat16 or float16, read as float32.
struct Floats {
  const void* data;
  enum Kind : int { kFloat, kBfloat, kHalf } kind;

  DVS2S_DEVICE float at(int64_t i) const {
    if (kind == kFloat) return static_cast<const float*>(data)[i];
    const uint16_t bits = static_cast<const uint16_t*>(data)[i];
    return kind == kBfloat ? to_float(bf16{bits}) : to_float(f16{bits});
  }
};

// A tensor of int32 or int64, read as int64.
struct Integers {
  const void* data;
  bool is_wide;

  DVS2S_DEVICE int64_t at(int64_t i) const {
    return is_wide ? static_cast<const int64_t*>(data)[i] : static_cast<const int32_t*>(data)[i];
  }
};

DVS2S_DEVICE float minus_infinity() { return bits_float(0xff800000u); }
DVS2S_DEVICE float not_a_number() { return bits_float(0x7fc00000u); }

// exp(z - top) for z <= top, right for infinities too: -inf weighs nothing, and a z that equals
// the top weighs 1 even where both are +inf.
DVS2S_DEVICE float relative_exp(float z, float top) {
  if (z == minus_infinity()) return 0.0f;
  return z == top ? 1.0f : expf(z - top);
}

// The largest of some logits and the sum of exp(z - largest); of none it is (-inf, 0). A NaN shows
// in the sum only.
struct Stat {
  float top, sum;

  DVS2S_DEVICE float log_sum() const { return top + logf(sum); }
};

DVS2S_DEVICE Stat empty_stat() { return Stat{minus_infinity(), 0.0f}; }

// Exact where one side is empty, so that empty parts change nothing.
DVS2S_DEVICE Stat merge(Stat a, Stat b) {
  const float top = fmaxf(a.top, b.top);
  return Stat{top, a.sum * relative_exp(a.top, top) + b.sum * relative_exp(b.top, top)};
}

// Sums and maxima over a warp, in a fixed order; every lane gets the same bits.
DVS2S_DEVICE float warp_max(float x) {
  for (int mask = 16; mask > 0; mask /= 2) x = fmaxf(x, shuffle_xor(x, mask));
  return x;
}
DVS2S_DEVICE float warp_sum(float x) {
  for (int mask = 16; mask > 0; mask /= 2) x += shuffle_xor(x, mask);
  return x;
}
DVS2S_DEVICE Stat warp_merge(Stat stat) {
  for (int mask = 16; mask > 0; mask /= 2) {
    stat = merge(stat, Stat{shuffle_xor(stat.top, mask), shuffle_xor(stat.sum, mask)});
  }
  // a fused multiply-add makes merge(a, b) and merge(b, a) differ in the last bit: lane 0 decides
  return Stat{shuffle(stat.top, 0), shuffle(stat.sum, 0)};
}

// An integer that orders floats: -inf lowest, +inf high, every NaN highest (as torch.topk has it);
// -0 and +0 are equal. 0 is below every key.
DVS2S_DEVICE uint32_t order_of(float x) {
  if (x != x) return 0xffffffffu;
  const uint32_t bits = float_bits(x + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
DVS2S_DEVICE float value_of(uint32_t order) {
  if (order == 0xffffffffu) return not_a_number();
  return bits_float(order & 0x80000000u ? order & 0x7fffffffu : ~order);
}

// A logit and its slot in one number: the higher logit, then the lower slot, is the larger.
DVS2S_DEVICE uint64_t rank_of(float logit, uint32_t slot) {
  return static_cast<uint64_t>(order_of(logit)) << 32 | (0xffffffffu - slot);
}
DVS2S_DEVICE float logit_of(uint64_t rank) { return value_of(static_cast<uint32_t>(rank >> 32)); }
DVS2S_DEVICE uint32_t slot_of(uint64_t rank) {
  return 0xffffffffu - static_cast<uint32_t>(rank);
}

}  // namespace dvs2s::gpu
