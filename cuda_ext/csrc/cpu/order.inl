// Peaks and places of logits, for one instruction set: included as tile.inl is. Plain loops, of
// which the compiler makes vectors.

inline void peaks(const float* z, int64_t n, float* out) {
  for (int i = 0; i < kPeaks; ++i) out[i] = -std::numeric_limits<float>::infinity();
  for (int64_t first = 0; first < n; first += kPeaks) {
    const int64_t count = n - first < kPeaks ? n - first : kPeaks;
    for (int64_t i = 0; i < count; ++i) out[i] = z[first + i] > out[i] ? z[first + i] : out[i];
  }
}

inline void places(const float* z, int64_t n, int32_t* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = 0;
  for (int32_t i = 0; i < n; ++i) {
    for (int32_t j = 0; j < i; ++j) out[j] += z[i] > z[j];
    for (int32_t j = i + 1; j < n; ++j) out[j] += z[i] >= z[j];
  }
}
