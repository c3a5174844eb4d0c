#include "screen.h"

#include <algorithm>
#include <cmath>

#include "../cpu/kernels.h"

namespace dvs2s::engine {
namespace {

constexpr int64_t kTaskRows = 128;
constexpr float kRounding = 2e-5f;  // of a float32 sum, relative to the factors' norms

float norm(const float* x, int64_t n) { return std::sqrt(step_kernels().dot(x, x, n)); }

}  // namespace

void Screen::take(const RowStore& rows) {
  rows_.take(kInt8, reinterpret_cast<const float*>(rows.data), rows.bias, rows.rows, rows.columns);
  std::vector<float> near(static_cast<size_t>(rows.columns)), far(near.size());
  for (int64_t i = 0; i < rows_.rows; ++i) {
    const auto* w = reinterpret_cast<const float*>(rows.row(i));
    const auto* q = reinterpret_cast<const int8_t*>(rows_.row(i));
    for (size_t k = 0; k < near.size(); ++k) {
      near[k] = static_cast<float>(q[k]) * rows_.scale[i];
      far[k] = w[k] - near[k];
    }
    row_norm_.push_back(norm(near.data(), rows.columns));
    row_error_.push_back(norm(far.data(), rows.columns));
  }
}

void Screen::bound(Pool& pool, const float* x, Bounds& out) const {
  const int64_t n = rows_.columns, C = rows_.rows;
  std::vector<char> row(static_cast<size_t>(rows_.units * kUnitBytes));
  const float scale = step_kernels().to_row[kInt8](x, n, rows_.units, row.data());
  std::vector<float> far(static_cast<size_t>(n));
  for (size_t k = 0; k < far.size(); ++k) {
    far[k] = x[k] - scale * static_cast<float>(static_cast<uint8_t>(row[k]) - 128);
  }
  const float x_norm = norm(x, n), x_error = norm(far.data(), n);
  const int offset = kernels().int8_offset - 128;
  for (char& byte : row) byte = static_cast<char>(byte + offset);
  out.score.resize(static_cast<size_t>(C));
  out.error.resize(static_cast<size_t>(C));
  pool.run((C + kTaskRows - 1) / kTaskRows, [&](int64_t task) {
    const int64_t first = task * kTaskRows, last = std::min(C, first + kTaskRows);
    const void* w[kTaskRows + 4];
    for (int64_t r = first; r < last + 4; ++r) w[r - first] = rows_.row(std::min(r, C - 1));
    const void* columns[1] = {row.data()};
    kernels().int8(w, static_cast<int>(last - first), columns, 1, n, out.score.data() + first, 1, w + 4);
    for (int64_t r = first; r < last; ++r) {
      const auto at = static_cast<size_t>(r);
      out.score[at] = out.score[at] * (rows_.scale[r] * scale) + rows_.bias[r];
      out.error[at] = row_error_[at] * x_norm + row_norm_[at] * x_error +
          kRounding * (row_norm_[at] + row_error_[at]) * x_norm;
    }
  });
}

void score_rows(
    Pool& pool, const RowStore& rows, const std::vector<int32_t>& which, const float* x,
    float* out) {
  const auto count = static_cast<int64_t>(which.size());
  pool.run((count + kTaskRows - 1) / kTaskRows, [&](int64_t task) {
    const int64_t first = task * kTaskRows, last = std::min(count, first + kTaskRows);
    const void* w[kTaskRows + 4];
    for (int64_t i = first; i < last + 4; ++i) {
      w[i - first] = rows.row(which[static_cast<size_t>(std::min(i, count - 1))]);
    }
    const void* columns[1] = {x};
    float dots[kTaskRows];
    kernels().f32(w, static_cast<int>(last - first), columns, 1, rows.columns, dots, 1, w + 4);
    for (int64_t i = first; i < last; ++i) {
      const int32_t c = which[static_cast<size_t>(i)];
      const float z = dots[i - first] + rows.bias[c];
      out[c] = z == z ? z : kMinusInf;
    }
  });
}

}  // namespace dvs2s::engine
