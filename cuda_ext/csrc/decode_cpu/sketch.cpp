#include "sketch.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace dvs2s::engine {
namespace {

constexpr int64_t kTaskBlocks = 16, kTaskRows = kTaskBlocks * kBlockRows;
constexpr float kMinusInf = -std::numeric_limits<float>::infinity();

float norm(const float* x, int64_t n) { return std::sqrt(step_kernels().dot(x, x, n)); }

// The length of what int8 makes of x less x.
float rounding(const float* x, int64_t n) {
  std::vector<char> row(static_cast<size_t>(n));
  const float scale = step_kernels().to_row[kInt8](x, n, n / 4, row.data());
  float sum = 0.0f;
  for (int64_t i = 0; i < n; ++i) {
    const int q = static_cast<uint8_t>(row[static_cast<size_t>(i)]) - 128;
    const float far = x[i] - scale * static_cast<float>(q);
    sum += far * far;
  }
  return std::sqrt(sum);
}

}  // namespace

void Sketch::take(
    Pool& pool, const float* rows, const float* bias, int64_t n, int64_t D,
    const float* directions, int64_t width) {
  D_ = D, width_ = width;
  directions_.assign(directions, directions + width * D);
  Buffer<float> sketches(n * width);
  for (auto* lengths : {&rest_, &length_}) {
    std::fill_n(lengths->reserve(round_up(n, kBlockRows)), round_up(n, kBlockRows), 0.0f);
  }
  std::vector<float> worst(static_cast<size_t>((n + kTaskRows - 1) / kTaskRows), 0.0f);
  pool.run(static_cast<int64_t>(worst.size()), [&](int64_t task) {
    for (int64_t i = task * kTaskRows; i < std::min(n, (task + 1) * kTaskRows); ++i) {
      const float* row = rows + i * D;
      float* sketch = sketches.get() + i * width_;
      for (int64_t k = 0; k < width_; ++k) {
        sketch[k] = step_kernels().dot(row, directions + k * D, D);
      }
      length_[i] = norm(sketch, width_);
      const float whole = step_kernels().dot(row, row, D);
      rest_[i] = std::sqrt(std::max(0.0f, whole - length_[i] * length_[i]));
      if (length_[i] > 0.0f) {
        float& most = worst[static_cast<size_t>(task)];
        most = std::max(most, rounding(sketch, width_) / length_[i]);
      }
    }
  });
  rounding_ = *std::max_element(worst.begin(), worst.end());
  rows_.pack(kInt8, {{sketches.get(), bias, n}}, width_);
  std::fill(rows_.bias.get() + n, rows_.bias.get() + rows_.ld(), kMinusInf);  // never likely
}

void Sketch::project(const float* x, int64_t index) {
  float sketch[kMostWidth];
  for (int64_t k = 0; k < width_; ++k) {
    sketch[k] = step_kernels().dot(x, directions_.data() + k * D_, D_);
  }
  x_.set(index, sketch);
  const float length = norm(sketch, width_), whole = step_kernels().dot(x, x, D_);
  const auto at = static_cast<size_t>(index);
  const float rest = std::sqrt(std::max(0.0f, whole - length * length));
  x_rest_[at] = rest / std::sqrt(static_cast<float>(D_ - width_));
  x_noise_[at] =
      (rounding_ * length + rounding(sketch, width_)) / std::sqrt(static_cast<float>(width_));
}

void Sketch::bound(
    Pool& pool, const float* x, int64_t ld, int64_t count, float deviations, Bounds& out) {
  out.words = rows_.rows;
  out.blocks = rows_.blocks;
  for (auto* all : {&out.low, &out.high}) all->reserve(count * rows_.ld());
  for (auto* top : {&out.top_low, &out.top_high}) top->reserve(count * rows_.blocks);
  x_.shape(kInt8, count, width_);
  x_.group(0, count);
  x_rest_.resize(static_cast<size_t>(count));
  x_noise_.resize(static_cast<size_t>(count));
  pool.run(count, [&](int64_t i) { project(x + i * ld, i); });
  for (const auto& group : x_.groups()) x_.interleave(group);
  pool.run((rows_.blocks + kTaskBlocks - 1) / kTaskBlocks, [&](int64_t task) {
    for (const auto& group : x_.groups()) bound_words(task, group, deviations, out);
  });
}

void Sketch::bound_words(
    int64_t task, const Columns::Group& group, float deviations, Bounds& out) const {
  constexpr int kMost = 16;  // as many columns as a call of any instruction set takes
  float scores[kMost * kTaskRows];
  const int64_t first = task * kTaskBlocks, last = std::min(rows_.blocks, first + kTaskBlocks);
  x_.multiply(rows_, first, last, group, scores, kTaskRows);
  for (int c = 0; c < group.n; ++c) {
    const int64_t message = group.first + c, row = first * kBlockRows;
    const auto at = static_cast<size_t>(message);
    const int64_t block = message * rows_.blocks + first, place = message * rows_.ld() + row;
    step_kernels().bounds(
        scores + c * kTaskRows, rest_.get() + row, length_.get() + row,
        deviations * x_rest_[at], deviations * x_noise_[at], last - first, out.low.get() + place,
        out.high.get() + place, out.top_low.get() + block, out.top_high.get() + block);
  }
}

}  // namespace dvs2s::engine
