// Sparse logits and fused top-k on the CPU (contract: dvs2s/ops/library.py).
//
// Three routes through the same dot products, so that their results are equal bit for bit:
//   gather  example by example: tiles of 4 of its words by 6 of its hidden rows;
//   union   word by word: a weight row is read once for all examples whose vocabulary holds it;
//   dense   every word for every hidden row, and each example picks its own.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>
#include <tuple>
#include <vector>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include "../checks.h"
#include "best.h"
#include "kernels.h"
#include "operands.h"

namespace dvs2s {
namespace {

constexpr int64_t kBlock = kMostWords;  // words a task of the gather route
constexpr int64_t kChunk = 512;   // slots whose statistics are taken together, in this order
constexpr float kMinusInf = -std::numeric_limits<float>::infinity();

enum Route : int64_t { kGather = 0, kUnion = 1, kDense = 2 };

// Logits of the words ids[first, last) of example b, for all its R rows, to out[r * ld + slot]: the
// dot products are made in place, scale and bias come after.
void gather_block(
    const Operands& in, int64_t b, int64_t first, int64_t last, float* out, int64_t ld) {
  const void* rows[2 * kBlock];
  float bias[kBlock], scale[kBlock];
  const int64_t* ids = in.ids + b * in.K;
  const int n = static_cast<int>(last - first);
  for (int i = 0; i < n; ++i) {
    rows[i] = in.row(ids[first + i]);
    bias[i] = in.bias(ids[first + i]);
    scale[i] = in.row_scale(ids[first + i]);
  }
  for (int i = n; i < 2 * n; ++i) {  // what the task after this one reads
    const int64_t slot = last + (i - n);
    rows[i] = in.row(ids[slot < in.lengths[b] ? slot : first]);
  }
  const void* hidden[64];
  for (int64_t r0 = 0; r0 < in.R; r0 += 64) {
    const int nr = static_cast<int>(std::min<int64_t>(64, in.R - r0));
    for (int j = 0; j < nr; ++j) hidden[j] = in.hidden_row(b * in.R + r0 + j);
    // with few hidden rows the next tile's rows are fetched, with many the next block's
    const void* const* next = r0 > 0 ? nullptr : nr <= 6 ? rows + std::min(n, 4) : rows + n;
    in.dots(rows, n, hidden, nr, in.H, out + r0 * ld + first, ld, next);
    for (int j = 0; j < nr; ++j) {
      float* line = out + (r0 + j) * ld + first;
      if (in.is_scaled()) {
        const float size = in.hidden_scale(b * in.R + r0 + j);
        for (int i = 0; i < n; ++i) line[i] = line[i] * (scale[i] * size) + bias[i];
      } else {
        for (int i = 0; i < n; ++i) line[i] += bias[i];
      }
    }
  }
}

void mask_tail(const Operands& in, int64_t b, float* out) {
  for (int64_t r = 0; r < in.R; ++r) {
    std::fill(out + r * in.K + in.lengths[b], out + (r + 1) * in.K, kMinusInf);
  }
}

void gather_logits(const Operands& in, float* logits) {
  std::vector<std::pair<int64_t, int64_t>> tasks;
  for (int64_t b = 0; b < in.B; ++b) {
    for (int64_t first = 0; first < in.lengths[b]; first += kBlock) tasks.emplace_back(b, first);
  }
  parallel(static_cast<int64_t>(tasks.size()), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const auto [b, first] = tasks[t];
      const int64_t last = std::min(first + kBlock, in.lengths[b]);
      gather_block(in, b, first, last, logits + b * in.R * in.K, in.K);
    }
  });
  for (int64_t b = 0; b < in.B; ++b) mask_tail(in, b, logits + b * in.R * in.K);
}

// The places (example, slot) of every word that some example holds, words ascending.
struct Inverted {
  std::vector<int64_t> words, starts;           // starts has one more
  std::vector<std::pair<int32_t, int32_t>> at;  // (example, slot)
};

Inverted invert(const Operands& in) {
  std::vector<int64_t> count(static_cast<size_t>(in.V) + 1, 0);
  for (int64_t b = 0; b < in.B; ++b) {
    for (int64_t k = 0; k < in.lengths[b]; ++k) ++count[in.ids[b * in.K + k] + 1];
  }
  Inverted index;
  std::vector<int64_t> cursor(static_cast<size_t>(in.V));
  int64_t total = 0;
  for (int64_t v = 0; v < in.V; ++v) {
    cursor[v] = total;
    if (count[v + 1] > 0) {
      index.words.push_back(v);
      index.starts.push_back(total);
      total += count[v + 1];
    }
  }
  index.starts.push_back(total);
  index.at.resize(static_cast<size_t>(total));
  for (int64_t b = 0; b < in.B; ++b) {
    for (int64_t k = 0; k < in.lengths[b]; ++k) {
      index.at[cursor[in.ids[b * in.K + k]]++] = {
          static_cast<int32_t>(b), static_cast<int32_t>(k)};
    }
  }
  return index;
}

// How many words from place `w` on, at most 4, are held by the same examples: one tile for them.
int64_t alike(const Inverted& index, int64_t w, int64_t end) {
  const int64_t n = index.starts[w + 1] - index.starts[w];
  int64_t count = 1;
  for (; count < 4 && w + count < end; ++count) {
    const int64_t next = index.starts[w + count];
    if (index.starts[w + count + 1] - next != n) break;
    bool same = true;
    for (int64_t i = 0; i < n && same; ++i) {
      same = index.at[next + i].first == index.at[index.starts[w] + i].first;
    }
    if (!same) break;
  }
  return count;
}

void union_words(const Operands& in, const Inverted& index, int64_t begin, int64_t end, float* z) {
  std::vector<const void*> hidden;
  std::vector<int64_t> lines;
  std::vector<float> dots;
  for (int64_t w = begin; w < end;) {
    const int64_t nw = alike(index, w, end);
    const int64_t first = index.starts[w], n = index.starts[w + 1] - first;
    hidden.clear();
    lines.clear();
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t r = 0; r < in.R; ++r) {
        lines.push_back(index.at[first + i].first * in.R + r);
        hidden.push_back(in.hidden_row(lines.back()));
      }
    }
    const int64_t nx = n * in.R;
    dots.resize(static_cast<size_t>(4 * nx));  // 4 words a line
    const void* rows[8];  // the tile's, then those to fetch meanwhile
    for (int64_t i = 0; i < 2 * nw; ++i) {
      rows[i] = in.row(index.words[std::min(w + i, end - 1)]);
    }
    in.dots(rows, static_cast<int>(nw), hidden.data(), static_cast<int>(nx), in.H, dots.data(), 4,
            rows + nw);
    for (int64_t i = 0; i < nw; ++i) {
      for (int64_t j = 0; j < nx; ++j) {
        const int64_t slot = index.at[index.starts[w + i] + j / in.R].second;
        z[lines[j] * in.K + slot] = in.logit(dots[j * 4 + i], index.words[w + i], lines[j]);
      }
    }
    w += nw;
  }
}

void union_logits(const Operands& in, float* logits) {
  const Inverted index = invert(in);
  parallel_by_weight(index.starts, [&](int64_t begin, int64_t end) {
    union_words(in, index, begin, end, logits);
  });
  for (int64_t b = 0; b < in.B; ++b) mask_tail(in, b, logits + b * in.R * in.K);
}

// All rows against the words of one block.
void dense_block(const Operands& in, const std::vector<const void*>& hidden, int64_t first,
                 std::vector<float>& dots, float* z) {
  const int64_t n = std::min(kBlock, in.V - first), lines = in.B * in.R;
  const void* rows[kBlock];
  for (int64_t i = 0; i < n; ++i) rows[i] = in.row(first + i);
  in.dots(rows, static_cast<int>(n), hidden.data(), static_cast<int>(lines), in.H, dots.data(),
          kBlock, nullptr);
  for (int64_t b = 0; b < in.B; ++b) {
    const int64_t* ids = in.ids + b * in.K;
    const int64_t* end = ids + in.lengths[b];
    for (const int64_t* id = std::lower_bound(ids, end, first); id != end && *id < first + n; ++id) {
      for (int64_t r = 0; r < in.R; ++r) {
        const int64_t line = b * in.R + r;
        z[line * in.K + (id - ids)] = in.logit(dots[line * kBlock + (*id - first)], *id, line);
      }
    }
  }
}

void dense_logits(const Operands& in, float* logits) {
  std::vector<const void*> hidden(static_cast<size_t>(in.B * in.R));
  for (int64_t i = 0; i < in.B * in.R; ++i) hidden[i] = in.hidden_row(i);
  parallel((in.V + kBlock - 1) / kBlock, [&](int64_t begin, int64_t end) {
    std::vector<float> dots(static_cast<size_t>(kBlock) * hidden.size());
    for (int64_t t = begin; t < end; ++t) dense_block(in, hidden, t * kBlock, dots, logits);
  });
  for (int64_t b = 0; b < in.B; ++b) mask_tail(in, b, logits + b * in.R * in.K);
}

// log Σ exp of one row's logits: chunks of fixed size, joined in order, whatever the threads.
float log_sum_exp(const Kernels& k, const float* z, int64_t n) {
  float peak = kMinusInf, sum = 0.0f;
  for (int64_t first = 0; first < n; first += kChunk) {
    float m, s;
    k.stats(z + first, std::min(kChunk, n - first), &m, &s);
    if (m == kMinusInf) {
      sum += s;  // 0, or NaN
    } else if (m <= peak) {
      sum += s * std::exp(m - peak);
    } else {
      sum = (peak == kMinusInf ? sum : sum * std::exp(peak - m)) + s;
      peak = m;
    }
  }
  if (sum != sum) return sum;
  return peak == kMinusInf ? kMinusInf : peak + std::log(sum);
}

void all_logits(const Operands& in, int64_t route, float* out) {
  switch (route) {
    case kGather: return gather_logits(in, out);
    case kUnion: return union_logits(in, out);
    case kDense: return dense_logits(in, out);
    default:
      STD_TORCH_CHECK(
          false, "route must be 0 (gather), 1 (union) or 2 (dense), got ", route);
  }
}

// float64, for gradient checks: the plain loops, in double throughout.
std::vector<double> double_logits(
    const Tensor& hidden, const Tensor& weight, const Tensor& bias, const Operands& in) {
  const Tensor x = torch::stable::contiguous(hidden), w = torch::stable::contiguous(weight);
  const Tensor c = torch::stable::contiguous(torch::stable::to(bias, ScalarType::Double));
  const auto* rows = static_cast<const double*>(w.const_data_ptr());
  const auto* lines = static_cast<const double*>(x.const_data_ptr());
  const auto* biases = static_cast<const double*>(c.const_data_ptr());
  std::vector<double> z(
      static_cast<size_t>(in.B * in.R * in.K), -std::numeric_limits<double>::infinity());
  for (int64_t i = 0; i < in.B * in.R; ++i) {
    for (int64_t k = 0; k < in.lengths[i / in.R]; ++k) {
      const int64_t word = in.ids[i / in.R * in.K + k];
      z[i * in.K + k] = std::inner_product(
          lines + i * in.H, lines + (i + 1) * in.H, rows + word * in.H, biases[word]);
    }
  }
  return z;
}

double double_lse(const double* z, int64_t n) {
  const double peak = *std::max_element(z, z + n);
  if (std::isinf(peak) && peak < 0) return peak;
  double sum = 0.0;
  for (int64_t i = 0; i < n; ++i) sum += std::exp(z[i] - peak);
  return peak + std::log(sum);
}

std::tuple<Tensor, Tensor> sparse_logits(
    const Tensor& hidden, const Tensor& weight, const Tensor& bias, const Tensor& ids,
    const Tensor& lengths, const std::optional<Tensor>& scales, int64_t route) {
  const Operands in(hidden, weight, bias, ids, lengths, scales);
  if (hidden.scalar_type() == ScalarType::Double) {
    const std::vector<double> z = double_logits(hidden, weight, bias, in);
    Tensor logits = torch::stable::new_empty(hidden, {in.B, in.R, in.K}, ScalarType::Double);
    Tensor lse = torch::stable::new_empty(hidden, {in.B, in.R}, ScalarType::Double);
    std::copy(z.begin(), z.end(), static_cast<double*>(logits.mutable_data_ptr()));
    auto* norm = static_cast<double*>(lse.mutable_data_ptr());
    for (int64_t i = 0; i < in.B * in.R; ++i) norm[i] = double_lse(z.data() + i * in.K, in.K);
    return {logits, lse};
  }
  Tensor logits = torch::stable::new_empty(hidden, {in.B, in.R, in.K}, ScalarType::Float);
  Tensor lse = torch::stable::new_empty(hidden, {in.B, in.R}, ScalarType::Float);
  float* z = static_cast<float*>(logits.mutable_data_ptr());
  float* norm = static_cast<float*>(lse.mutable_data_ptr());
  all_logits(in, route, z);
  const Kernels& k = kernels();
  parallel(in.B * in.R, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      norm[i] = log_sum_exp(k, z + i * in.K, in.lengths[i / in.R]);
    }
  });
  return {logits, lse};
}

std::tuple<Tensor, Tensor, Tensor> double_topk(
    const Tensor& hidden, const Tensor& weight, const Tensor& bias, const Operands& in, int64_t k) {
  const std::vector<double> z = double_logits(hidden, weight, bias, in);
  Tensor scores = torch::stable::new_empty(hidden, {in.B, in.R, k}, ScalarType::Double);
  Tensor slots = torch::stable::new_empty(hidden, {in.B, in.R, k}, ScalarType::Long);
  Tensor lse = torch::stable::new_empty(hidden, {in.B, in.R}, ScalarType::Double);
  auto* top = static_cast<double*>(scores.mutable_data_ptr());
  auto* places = static_cast<int64_t*>(slots.mutable_data_ptr());
  auto* norm = static_cast<double*>(lse.mutable_data_ptr());
  std::vector<int64_t> order(static_cast<size_t>(in.K));
  for (int64_t i = 0; i < in.B * in.R; ++i) {
    const double* line = z.data() + i * in.K;
    norm[i] = double_lse(line, in.K);
    std::iota(order.begin(), order.end(), int64_t{0});
    std::stable_sort(
        order.begin(), order.end(), [line](int64_t a, int64_t b) { return line[a] > line[b]; });
    for (int64_t j = 0; j < k; ++j) {
      places[i * k + j] = order[j];
      top[i * k + j] = line[order[j]] - norm[i];
    }
  }
  return {scores, slots, lse};
}

std::tuple<Tensor, Tensor, Tensor> sparse_topk(
    const Tensor& hidden, const Tensor& weight, const Tensor& bias, const Tensor& ids,
    const Tensor& lengths, const std::optional<Tensor>& scales, int64_t k, int64_t route) {
  const Operands in(hidden, weight, bias, ids, lengths, scales);
  STD_TORCH_CHECK(k >= 1 && k <= in.K, "k must lie in 1..K = ", in.K, ", got ", k);
  if (hidden.scalar_type() == ScalarType::Double) {
    return double_topk(hidden, weight, bias, in, k);
  }
  Tensor scores = torch::stable::new_empty(hidden, {in.B, in.R, k}, ScalarType::Float);
  Tensor slots = torch::stable::new_empty(hidden, {in.B, in.R, k}, ScalarType::Long);
  Tensor lse = torch::stable::new_empty(hidden, {in.B, in.R}, ScalarType::Float);
  float* top = static_cast<float*>(scores.mutable_data_ptr());
  int64_t* places = static_cast<int64_t*>(slots.mutable_data_ptr());
  float* norm = static_cast<float*>(lse.mutable_data_ptr());
  const Kernels& table = kernels();
  auto finish = [&](int64_t i, const float* z) {  // row i = b * R + r
    norm[i] = log_sum_exp(table, z, in.lengths[i / in.R]);
    best(table, z, in.K, k, top + i * k, places + i * k);
    for (int64_t j = 0; j < k; ++j) top[i * k + j] -= norm[i];
  };
  if (route == kGather && in.B >= 2 * static_cast<int64_t>(torch::stable::get_num_threads())) {
    // an example's logits live and die in the cache of the core that made them
    parallel(in.B, [&](int64_t begin, int64_t end) {
      const auto z = std::make_unique_for_overwrite<float[]>(static_cast<size_t>(in.R * in.K));
      for (int64_t b = begin; b < end; ++b) {
        for (int64_t first = 0; first < in.lengths[b]; first += kBlock) {
          gather_block(in, b, first, std::min(first + kBlock, in.lengths[b]), z.get(), in.K);
        }
        mask_tail(in, b, z.get());
        for (int64_t r = 0; r < in.R; ++r) finish(b * in.R + r, z.get() + r * in.K);
      }
    });
    return {scores, slots, lse};
  }
  const auto z = std::make_unique_for_overwrite<float[]>(static_cast<size_t>(in.B * in.R * in.K));
  all_logits(in, route, z.get());
  parallel(in.B * in.R, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) finish(i, z.get() + i * in.K);
  });
  return {scores, slots, lse};
}

}  // namespace
}  // namespace dvs2s

STABLE_TORCH_LIBRARY_IMPL(dvs2s, CPU, m) {
  m.impl("sparse_logits", TORCH_BOX(&dvs2s::sparse_logits));
  m.impl("sparse_topk", TORCH_BOX(&dvs2s::sparse_topk));
}
