// Symmetric int8 of a hidden row, for one instruction set: included as tile.inl is. Plain loops over
// integers and elementwise floats, of which the compiler makes vectors.

// Writes x = scale * out, |out| <= 127, and the sum of out behind it; returns the scale. A row with
// NaN or inf stays visible: its scale is NaN.
inline float quantise(const float* x, int64_t n, int8_t* out) {
  uint32_t largest_bits = 0;  // of |x|: sizes order as their bits do, inf and NaN above all
  for (int64_t h = 0; h < n; ++h) {
    uint32_t bits;
    std::memcpy(&bits, x + h, sizeof(bits));
    bits &= 0x7fffffffu;
    largest_bits = bits > largest_bits ? bits : largest_bits;
  }
  float largest;
  std::memcpy(&largest, &largest_bits, sizeof(largest));
  const bool is_finite = largest_bits < 0x7f800000u;
  const float inverse = largest > 0.0f && is_finite ? 127.0f / largest : 0.0f;
  if (inverse == 0.0f || std::isinf(inverse)) {
    std::memset(out, 0, static_cast<size_t>(n + kSumBytes));
    return is_finite ? largest / 127.0f : std::numeric_limits<float>::quiet_NaN();
  }
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding and taking it rounds, half to even
  int32_t sum = 0;
  for (int64_t h = 0; h < n; ++h) {
    const auto value = static_cast<int32_t>((x[h] * inverse + kRound) - kRound);
    out[h] = static_cast<int8_t>(value);
    sum += value;
  }
  set_quantised_sum(out, n, sum);
  return largest / 127.0f;
}
