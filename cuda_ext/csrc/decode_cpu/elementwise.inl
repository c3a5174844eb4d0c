// The element-by-element kernels in plain loops, for instruction sets without ones of their own.
// Included like gemm.inl.

// Without branches, so that loops over it become vectors: Cephes' polynomial, as in AVX-512's file.
inline float exp1(float x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23
  const float n = (x * 1.44269504f + kRound) - kRound;
  float r = x - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + (r + 1.0f);
  const float whole = n == n ? n : 0.0f;  // no conversion of NaN to an integer: p is NaN already
  return p * std::bit_cast<float>((static_cast<int32_t>(whole) + 127) << 23);
}
inline float sigmoid1(float x) { return 1.0f / (1.0f + exp1(-x)); }
inline float tanh1(float x) { return 1.0f - 2.0f / (exp1(x + x) + 1.0f); }

void gates(
    const float* inputs, const float* more, const float* states, const float* h, int64_t H,
    float* out) {
  for (int64_t i = 0; i < H; ++i) {
    float in[3];
    for (int gate = 0; gate < 3; ++gate) {
      in[gate] = inputs[gate * H + i] + (more != nullptr ? more[gate * H + i] : 0.0f);
    }
    const float reset = sigmoid1(in[0] + states[i]);
    const float update = sigmoid1(in[1] + states[H + i]);
    const float fresh = tanh1(in[2] + reset * states[2 * H + i]);
    out[i] = fresh + update * (h[i] - fresh);
  }
}

float exp_twice(const float* x, int64_t n, float* out) {
  float largest = 0.0f;
  for (int64_t i = 0; i < n; ++i) {
    const float size = std::fabs(x[i]);
    largest = size > largest ? size : largest;
    out[i] = exp1(x[i] + x[i]);
  }
  return largest;
}

// Sums of eight lanes, added in one order: the compiler may use vectors and the result is fixed.
constexpr int kLanes = 8;

template <class Term>
inline float laned_sum(int64_t n, const Term& term) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += term(i + lane);
  }
  for (; i < n; ++i) lanes[i % kLanes] += term(i);
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
      ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

float energy(const float* exp_q, const float* exp_k, const float* v, int64_t n) {
  return -2.0f * laned_sum(n, [=](int64_t i) { return v[i] / (exp_q[i] * exp_k[i] + 1.0f); });
}

float energy_of_sums(const float* q, const float* k, const float* v, int64_t n) {
  return laned_sum(n, [=](int64_t i) { return v[i] * tanh1(q[i] + k[i]); });
}

void mix(const float* rows, int64_t ld, const float* weights, int64_t S, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = 0.0f;
  for (int64_t s = 0; s < S; ++s) {
    for (int64_t i = 0; i < n; ++i) out[i] += weights[s] * rows[s * ld + i];
  }
}

void tanh_row(float* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] = tanh1(x[i]);
}

float dot(const float* a, const float* b, int64_t n) {
  return laned_sum(n, [=](int64_t i) { return a[i] * b[i]; });
}

void sketch(const SketchCall& call) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  constexpr int64_t kHalf = kSketchWidth / 2;
  const int64_t units = sketch_units(call.coarse);
  for (int64_t block = 0; block < call.blocks; ++block) {
    const uint8_t* w = call.rows + block * units * kBlockRows * kUnitBytes;
    int32_t products[kBlockRows] = {};
    for (int64_t u = 0; u < units; ++u) {
      for (int64_t i = 0; i < kBlockRows * kUnitBytes; ++i) {
        const int byte = w[u * kBlockRows * kUnitBytes + i];
        const int8_t* x = call.x + u * kUnitBytes + i % kUnitBytes;
        products[i / kUnitBytes] +=
            call.coarse ? (byte & 15) * x[0] + (byte >> 4) * x[kHalf] : byte * x[0];
      }
    }
    float most_low = kNone, most_high = kNone;
    for (int64_t i = block * kBlockRows; i < (block + 1) * kBlockRows; ++i) {
      const auto exact = static_cast<float>(products[i % kBlockRows] - call.offset);
      const float score = exact * (call.scale[i] * call.x_scale) + call.bias[i];
      const float error = call.spread.error(call.rest[i], call.scale[i]);
      const float above = score + error;
      call.high[i] = above == above ? above : kNone;
      const float below = call.high[i] - (error + error);
      most_low = below > most_low ? below : most_low;
      most_high = call.high[i] > most_high ? call.high[i] : most_high;
    }
    call.top_low[block] = most_low;
    call.top_high[block] = most_high;
  }
}
