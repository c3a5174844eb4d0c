#include "sketch.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace dvs2s::engine {
namespace {

constexpr int64_t kTaskBlocks = 16, kTaskRows = kTaskBlocks * kBlockRows;
constexpr float kMinusInf = -std::numeric_limits<float>::infinity();

float norm(const float* x, int64_t n) { return std::sqrt(step_kernels().dot(x, x, n)); }

}  // namespace

void Sketch::take(
    Pool& pool, const float* rows, const float* bias, int64_t n, int64_t D,
    const float* directions, bool coarse) {
  coarse_ = coarse, D_ = D, words_ = n, blocks_ = (n + kBlockRows - 1) / kBlockRows;
  directions_.assign(directions, directions + kSketchWidth * D);
  const int64_t ld = blocks_ * kBlockRows, bytes = ld * row_bytes();
  std::fill_n(rows_.reserve(bytes), bytes, static_cast<uint8_t>(coarse_ ? 0x88 : 0x80));
  for (auto* of_row : {&rest_, &scale_}) std::fill_n(of_row->reserve(ld), ld, 0.0f);
  std::fill_n(bias_.reserve(ld), ld, kMinusInf);  // words that are not there are never likely
  const int64_t tasks = (n + kTaskRows - 1) / kTaskRows;
  std::vector<float> longest(static_cast<size_t>(tasks), 0.0f), lost = longest;
  pool.run(tasks, [&](int64_t task) {
    const auto at = static_cast<size_t>(task);
    for (int64_t i = task * kTaskRows; i < std::min(n, (task + 1) * kTaskRows); ++i) {
      float rounding = 0.0f;
      longest[at] = std::max(longest[at], take_row(rows + i * D, bias + i, i, &rounding));
      lost[at] = std::max(lost[at], rounding);
    }
  });
  longest_ = *std::max_element(longest.begin(), longest.end());
  lost_ = *std::max_element(lost.begin(), lost.end());
}

// Returns the length of a row's sketch, and of what rounding takes from it, in units of its scale.
float Sketch::take_row(const float* row, const float* bias, int64_t place, float* lost) {
  float sketch[kSketchWidth], largest = 0.0f;
  for (int64_t k = 0; k < kSketchWidth; ++k) {
    sketch[k] = step_kernels().dot(row, directions_.data() + k * D_, D_);
    largest = std::max(largest, std::fabs(sketch[k]));
  }
  const float length = norm(sketch, kSketchWidth), whole = step_kernels().dot(row, row, D_);
  rest_[place] = std::sqrt(std::max(0.0f, whole - length * length));
  bias_[place] = *bias;
  if (!std::isfinite(length)) {  // stays visible, as a score that is no number
    scale_[place] = std::numeric_limits<float>::quiet_NaN();
    return 0.0f;
  }
  const float scale = scale_[place] = largest / static_cast<float>(middle() - 1);
  if (scale == 0.0f) return 0.0f;
  uint8_t* block = rows_.get() + place / kBlockRows * kBlockRows * row_bytes();
  float sum = 0.0f;
  for (int64_t k = 0; k < kSketchWidth; ++k) {
    const auto q = static_cast<int>(std::lrint(sketch[k] / scale));
    const int64_t byte = k % row_bytes();
    uint8_t& to = block[(byte / kUnitBytes * kBlockRows + place % kBlockRows) * kUnitBytes +
                        byte % kUnitBytes];
    const int shift = k < row_bytes() ? 0 : 4, mask = coarse_ ? 15 << shift : 255;
    to = static_cast<uint8_t>((to & ~mask) | (q + middle()) << shift);
    const float far = sketch[k] / scale - static_cast<float>(q);
    sum += far * far;
  }
  *lost = std::sqrt(sum);
  return length / scale;
}

Sketch::Query Sketch::project(const float* x) const {
  float sketch[kSketchWidth], far[kSketchWidth];
  for (int64_t k = 0; k < kSketchWidth; ++k) {
    sketch[k] = step_kernels().dot(x, directions_.data() + k * D_, D_);
  }
  Query query{};
  char bytes[kSketchWidth];
  query.scale = step_kernels().to_row[kInt8](sketch, kSketchWidth, kSketchWidth / 4, bytes);
  for (int64_t k = 0; k < kSketchWidth; ++k) {
    const int q = static_cast<uint8_t>(bytes[k]) - 128;
    query.x[k] = static_cast<int8_t>(q);
    query.offset += middle() * q;
    far[k] = sketch[k] - query.scale * static_cast<float>(q);
  }
  const float length = norm(sketch, kSketchWidth), whole = step_kernels().dot(x, x, D_);
  const float rest = std::sqrt(std::max(0.0f, whole - length * length));
  query.rest = rest / std::sqrt(static_cast<float>(D_ - kSketchWidth));
  query.rounding = (lost_ * length + longest_ * norm(far, kSketchWidth)) /
      std::sqrt(static_cast<float>(kSketchWidth));
  return query;
}

void Sketch::bound(
    Pool& pool, const float* x, int64_t ld, int64_t count, float deviations, Bounds& out) {
  out.words = words_, out.blocks = blocks_;
  out.rest = rest_.get(), out.scale = scale_.get();
  out.high.reserve(count * blocks_ * kBlockRows);
  for (auto* top : {&out.top_low, &out.top_high}) top->reserve(count * blocks_);
  out.spreads.resize(static_cast<size_t>(count));
  queries_.resize(static_cast<size_t>(count));
  pool.run(count, [&](int64_t i) {
    const auto at = static_cast<size_t>(i);
    queries_[at] = project(x + i * ld);
    out.spreads[at] = {deviations * queries_[at].rest, deviations * queries_[at].rounding};
  });
  pool.run((blocks_ + kTaskBlocks - 1) / kTaskBlocks, [&](int64_t task) {
    const int64_t first = task * kTaskBlocks, row = first * kBlockRows;
    const int64_t blocks = std::min(kTaskBlocks, blocks_ - first);
    for (int64_t i = 0; i < count; ++i) {
      const Query& query = queries_[static_cast<size_t>(i)];
      const int64_t block = i * blocks_ + first;
      step_kernels().sketch(SketchCall{
          rows_.get() + row * row_bytes(), blocks, coarse_, query.x, query.scale, query.offset,
          scale_.get() + row, bias_.get() + row, rest_.get() + row,
          out.spreads[static_cast<size_t>(i)], out.high.get() + block * kBlockRows,
          out.top_low.get() + block, out.top_high.get() + block});
    }
  });
}

}  // namespace dvs2s::engine
