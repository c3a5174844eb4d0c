// Plain loops that the compiler turns into vectors of the instruction set that it is told of.
// Included like gemm.inl.

float float_row(const float* x, int64_t n, int64_t units, char* out) {
  std::memcpy(out, x, static_cast<size_t>(n) * sizeof(float));
  std::memset(out + n * 4, 0, static_cast<size_t>(units - n) * 4);
  return 1.0f;
}

float bfloat_row(const float* x, int64_t n, int64_t units, char* out) {
  auto* to = reinterpret_cast<uint16_t*>(out);
  for (int64_t i = 0; i < n; ++i) {  // to nearest, half to even; a NaN stays one
    const uint32_t bits = std::bit_cast<uint32_t>(x[i]);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    to[i] = static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? (bits >> 16) | 64u : rounded);
  }
  for (int64_t i = n; i < 2 * units; ++i) to[i] = 0;
  return 1.0f;
}

// q + 128 with x = scale * q, |q| <= 127. NaN or inf makes the scale NaN, so that it stays visible.
float int8_row(const float* x, int64_t n, int64_t units, char* out) {
  float largest = 0.0f, poison = 0.0f;
  for (int64_t i = 0; i < n; ++i) {
    const float size = std::fabs(x[i]);
    largest = size > largest ? size : largest;
  }
  for (int64_t i = 0; i < n; ++i) poison += x[i] * 0.0f;
  const bool bad = !(poison == 0.0f);
  const float inverse = largest > 0.0f && !bad ? 127.0f / largest : 0.0f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding and taking it rounds, half to even
  auto* to = reinterpret_cast<uint8_t*>(out);
  if (inverse == 0.0f) {
    std::memset(to, 128, static_cast<size_t>(n));
  } else {
    for (int64_t i = 0; i < n; ++i) {
      to[i] = static_cast<uint8_t>(static_cast<int>((x[i] * inverse + kRound) - kRound) + 128);
    }
  }
  std::memset(to + n, 128, static_cast<size_t>(4 * units - n));
  return bad ? poison : largest / 127.0f;
}
