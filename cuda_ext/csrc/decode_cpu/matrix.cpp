#include "matrix.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace dvs2s::engine {
namespace {

// One weight row in its precision: symmetric int8 with a scale a row, |q| <= 127.
void convert(Precision p, const float* x, int64_t n, int64_t units, char* out, float* scale,
             int32_t* sum) {
  if (p != kInt8) {
    step_kernels().to_row[p](x, n, units, out);
    return;
  }
  *scale = step_kernels().to_row[kInt8](x, n, units, out);
  auto* q = reinterpret_cast<int8_t*>(out);
  int32_t total = 0;
  for (int64_t i = 0; i < 4 * units; ++i) {
    q[i] = static_cast<int8_t>(static_cast<int>(static_cast<uint8_t>(out[i])) - 128);
    total += q[i];
  }
  *sum = 128 * total;
}

void pack_block(const char* const* rows, int64_t units, char* out) {
  auto* to = reinterpret_cast<uint32_t*>(out);
  const uint32_t* from[kBlockRows];
  bool whole = true;
  for (int r = 0; r < kBlockRows; ++r) {
    from[r] = reinterpret_cast<const uint32_t*>(rows[r]);
    whole = whole && from[r] != nullptr;
  }
  for (int64_t k = 0; k < units; ++k) {
    for (int r = 0; r < kBlockRows; ++r) {
      to[k * kBlockRows + r] = whole || from[r] != nullptr ? from[r][k] : 0u;
    }
  }
}

}  // namespace

void RowStore::take(
    Precision p, const float* weights, const float* bias_in, int64_t n, int64_t width) {
  precision = p, rows = n, columns = width, units = units_of(width, p), bias = bias_in;
  if (p == kFloat32) {
    data = reinterpret_cast<const char*>(weights);
    return;
  }
  own.reserve(rows * units * kUnitBytes);
  scale.reserve(rows);
  sum.reserve(rows);
  for (int64_t i = 0; i < rows; ++i) {
    convert(p, weights + i * width, width, units, own.get() + i * units * kUnitBytes, &scale[i],
            &sum[i]);
  }
  data = own.get();
}

void Matrix::shape(const RowStore& store, int64_t n) {
  precision = store.precision, rows = n, units = store.units;
  blocks = (n + kBlockRows - 1) / kBlockRows;
  data.reserve(blocks * units * kBlockRows * kUnitBytes);
  bias.reserve(ld());
  scale.reserve(ld());
  sum.reserve(ld());
}

void Matrix::fill(const RowStore& store, const int64_t* ids, int64_t block, float padding) {
  const char* from[kBlockRows];
  for (int r = 0; r < kBlockRows; ++r) {
    const int64_t place = block * kBlockRows + r;
    const int64_t id = place >= rows ? -1 : ids == nullptr ? place : ids[place];
    from[r] = id < 0 ? nullptr : store.row(id);
    bias[place] = id < 0 ? padding : store.bias[id];
    scale[place] = id < 0 || precision != kInt8 ? 0.0f : store.scale[id];
    sum[place] = id < 0 || precision != kInt8 ? 0 : store.sum[id];
  }
  pack_block(from, units, data.get() + block * units * kBlockRows * kUnitBytes);
}

void Matrix::pack(Precision p, const std::vector<Part>& parts, int64_t columns) {
  int64_t total = 0;
  for (const Part& part : parts) total += part.rows;
  precision = p, rows = total, units = units_of(columns, p);
  blocks = (total + kBlockRows - 1) / kBlockRows;
  data.reserve(blocks * units * kBlockRows * kUnitBytes);
  for (auto* b : {&bias, &scale}) std::fill_n(b->reserve(ld()), ld(), 0.0f);
  std::fill_n(sum.reserve(ld()), ld(), 0);
  Buffer<char> lines(kBlockRows * units * kUnitBytes);
  const char* from[kBlockRows] = {};
  int64_t place = 0;
  auto flush = [&] {
    pack_block(from, units,
               data.get() + (place - 1) / kBlockRows * units * kBlockRows * kUnitBytes);
    std::fill_n(from, kBlockRows, nullptr);
  };
  for (const Part& part : parts) {
    for (int64_t i = 0; i < part.rows; ++i) {
      char* line = lines.get() + place % kBlockRows * units * kUnitBytes;
      convert(p, part.weights + i * columns, columns, units, line, &scale[place], &sum[place]);
      if (part.bias != nullptr) bias[place] = part.bias[i];
      from[place % kBlockRows] = line;
      if (++place % kBlockRows == 0) flush();
    }
  }
  if (place % kBlockRows != 0) flush();
}

void Columns::shape(Precision p, int64_t count, int64_t width) {
  precision_ = p, count_ = count, width_ = width, units_ = units_of(width, p);
  rows_.reserve(count * units_ * kUnitBytes);
  packed_.reserve(2 * count * units_ * kUnitBytes);
  scale_.reserve(count);
  groups_.clear();
}

void Columns::group(int64_t first, int64_t n, int region) {
  const int64_t most = step_kernels().max_columns;
  for (int64_t parts = (n + most - 1) / most; parts > 0; --parts) {  // of about equal size
    const int64_t size = (n + parts - 1) / parts;
    groups_.push_back({first, static_cast<int>(size), region});
    first += size;
    n -= size;
  }
}

void Columns::set(int64_t column, const float* x) {
  scale_[column] = step_kernels().to_row[precision_](
      x, width_, units_, rows_.get() + column * units_ * kUnitBytes);
}

void Columns::interleave(const Group& g) {
  if (g.n == 1) return;
  auto* to = reinterpret_cast<uint32_t*>(packed_.get() + (g.region * count_ + g.first) * units_ * kUnitBytes);
  const auto* from = reinterpret_cast<const uint32_t*>(rows_.get() + g.first * units_ * kUnitBytes);
  for (int64_t k = 0; k < units_; ++k) {
    for (int c = 0; c < g.n; ++c) to[k * g.n + c] = from[c * units_ + k];
  }
}

void Columns::multiply(
    const Matrix& w, int64_t first, int64_t last, const Group& g, float* out, int64_t ld) const {
  const char* x = g.n == 1
      ? rows_.get() + g.first * units_ * kUnitBytes
      : packed_.get() + (g.region * count_ + g.first) * units_ * kUnitBytes;
  const int64_t row = first * kBlockRows;
  const Gemm call{
      w.data.get() + first * units_ * kBlockRows * kUnitBytes, last - first, units_,
      x, g.n, w.bias.get() + row, w.scale.get() + row,
      w.sum.get() + row, scale_.get() + g.first, out, ld};
  step_kernels().gemm[precision_](call);
}

}  // namespace dvs2s::engine
