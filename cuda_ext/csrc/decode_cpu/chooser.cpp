#include "chooser.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "../cpu/kernels.h"

namespace dvs2s::engine {
namespace {

constexpr int64_t kSep = 4;
constexpr int64_t kTaskRows = 128;

float log_sigmoid(float x) { return std::min(x, 0.0f) - std::log1p(std::exp(-std::fabs(x))); }

}  // namespace

// Two bags, of the whole message and of its last turn, each over the root of its words.
void Chooser::bag(const Request& request, float* out) const {
  const int64_t width = net_.sizes.bag;
  const auto& words = request.message;
  size_t turn = words.size();
  while (turn > 0 && words[turn - 1] != kSep) --turn;
  std::fill_n(out, 2 * width, 0.0f);
  for (size_t s = 0; s < words.size(); ++s) {
    const float* row = net_.source.bags + words[s] * 2 * width;
    const int64_t upto = s >= turn ? 2 * width : width;
    for (int64_t i = 0; i < upto; ++i) out[i] += row[i];
  }
  const auto last = static_cast<float>(std::max<size_t>(words.size() - turn, 1));
  const float whole = std::sqrt(static_cast<float>(words.size())), part = std::sqrt(last);
  for (int64_t i = 0; i < width; ++i) out[i] /= whole, out[width + i] /= part;
}

void Chooser::predict(const std::vector<Request*>& requests, const Selection& selection) {
  const bool best = selection.choice == Choice::kSize && selection.size < net_.sizes.V;
  const bool above = selection.choice == Choice::kThreshold;
  has_odds_ = best || above || selection.wants_odds;
  if (!has_odds_) return;
  guess(requests);
  // With many messages all rows are read once for all of them: cheaper than a choice for each.
  const auto count = static_cast<int64_t>(requests.size());
  constexpr int64_t kFew = 8;
  const bool sparse = selection.size - net_.sizes.num_fixed < net_.content.rows / 8;
  screens_ = net_.precision != kInt8 && count <= kFew && (above || (best && sparse));
  odds_.reserve(count * net_.content.rows);
  if (screens_) {
    for (int64_t i = 0; i < count; ++i) {
      score_likely(*requests[static_cast<size_t>(i)], selection, i);
    }
  } else {
    score_all(requests);
  }
}

// The predictor's hidden layer.
void Chooser::guess(const std::vector<Request*>& requests) {
  const auto count = static_cast<int64_t>(requests.size());
  const int64_t width = 2 * net_.sizes.bag, ld = net_.hidden.ld();
  bags_.shape(net_.hidden.precision, count, width);
  bags_.group(0, count);
  bag_.reserve(count * width);
  guess_.reserve(count * ld);
  for (int64_t i = 0; i < count; ++i) {
    bag(*requests[static_cast<size_t>(i)], bag_.get() + i * width);
    bags_.set(i, bag_.get() + i * width);
  }
  for (const auto& g : bags_.groups()) bags_.interleave(g);
  constexpr int64_t kBlocks = 8;
  net_.pool.run((net_.hidden.blocks + kBlocks - 1) / kBlocks, [&](int64_t task) {
    const int64_t first = task * kBlocks, last = std::min(net_.hidden.blocks, first + kBlocks);
    for (const auto& g : bags_.groups()) {
      float* out = guess_.get() + g.first * ld + first * kBlockRows;
      bags_.multiply(net_.hidden, first, last, g, out, ld);
    }
  });
  for (int64_t i = 0; i < count; ++i) step_kernels().tanh(guess_.get() + i * ld, net_.sizes.D);
}

void Chooser::score_all(const std::vector<Request*>& requests) {
  const auto count = static_cast<int64_t>(requests.size());
  const int64_t C = net_.content.rows, row_bytes = net_.content.units * kUnitBytes;
  rows_.reserve(count * row_bytes);
  scales_.reserve(count);
  const bool is_int8 = net_.content.precision == kInt8;
  const int offset = is_int8 ? kernels().int8_offset - 128 : 0;
  for (int64_t i = 0; i < count; ++i) {
    char* row = rows_.get() + i * row_bytes;
    scales_[i] = step_kernels().to_row[net_.content.precision](
        guess_.get() + i * net_.hidden.ld(), net_.sizes.D, net_.content.units, row);
    if (offset != 0) {
      for (int64_t k = 0; k < row_bytes; ++k) row[k] = static_cast<char>(row[k] + offset);
    }
  }
  net_.pool.run((C + kTaskRows - 1) / kTaskRows, [&](int64_t task) {
    score_block(task * kTaskRows, std::min(C, (task + 1) * kTaskRows), count);
  });
  for (int64_t i = 0; i < count; ++i) {
    repeat(*requests[static_cast<size_t>(i)], odds_.get() + i * C);
  }
}

void Chooser::score_block(int64_t first, int64_t last, int64_t count) {
  const RowStore& store = net_.content;
  const bool is_int8 = store.precision == kInt8;
  const Dots dots = is_int8 ? kernels().int8 : kernels().f32;
  const int64_t C = store.rows, row_bytes = store.units * kUnitBytes;
  const auto n = static_cast<int>(last - first);
  constexpr int64_t kMost = 16;
  const void* w[kTaskRows + 4];
  const void* x[kMost];
  float out[kTaskRows * kMost];
  for (int r = 0; r < n + 4; ++r) w[r] = store.row(std::min(first + r, C - 1));
  for (int64_t i = 0; i < count; i += kMost) {
    const auto nx = static_cast<int>(std::min(kMost, count - i));
    for (int j = 0; j < nx; ++j) x[j] = rows_.get() + (i + j) * row_bytes;
    dots(w, n, x, nx, store.columns, out, kTaskRows, i == 0 ? w + 4 : nullptr);
    for (int j = 0; j < nx; ++j) {
      float* line = odds_.get() + (i + j) * C + first;
      for (int r = 0; r < n; ++r) {
        const float scale = is_int8 ? store.scale[first + r] * scales_[i + j] : 1.0f;
        const float z = out[j * kTaskRows + r] * scale + store.bias[first + r];
        line[r] = z == z ? z : kMinusInf;  // an order among them is needed
      }
    }
  }
}

// The scores of the words that could come in; -inf for those that can not.
void Chooser::score_likely(const Request& request, const Selection& selection, int64_t index) {
  const float* x = guess_.get() + index * net_.hidden.ld();
  const int64_t C = net_.content.rows, fixed = net_.sizes.num_fixed;
  float* odds = odds_.get() + index * C;
  net_.screen.bound(net_.pool, x, bounds_);
  repeat(request, bounds_.score.data());
  take(request, selection);
  const bool best = selection.choice == Choice::kSize;
  const float* penalty = best ? selection.penalty : nullptr;
  const auto rank = [&](float z, int64_t c) {
    return penalty == nullptr ? z : log_sigmoid(z) - penalty[c];
  };
  float limit = std::log(selection.threshold / (1.0f - selection.threshold)) - 1e-4f;
  if (best) {
    ordered_.clear();
    int64_t room = selection.size - fixed;
    for (int64_t c = 0; c < C; ++c) {
      const auto at = static_cast<size_t>(c);
      if (taken_[static_cast<size_t>(fixed + c)] != 0) --room;
      else ordered_.push_back(rank(bounds_.score[at] - bounds_.error[at], c));
    }
    room = std::min(room, static_cast<int64_t>(ordered_.size()));
    limit = std::numeric_limits<float>::infinity();
    if (room > 0) {
      const auto last = ordered_.begin() + (room - 1);
      std::nth_element(ordered_.begin(), last, ordered_.end(), std::greater<>());
      limit = *last;
    }
  }
  likely_.clear();
  for (int64_t c = 0; c < C; ++c) {
    const auto at = static_cast<size_t>(c);
    const bool in = taken_[static_cast<size_t>(fixed + c)] != 0;
    if (in || rank(bounds_.score[at] + bounds_.error[at], c) >= limit) {
      likely_.push_back(static_cast<int32_t>(c));
    } else {
      odds[c] = kMinusInf;
    }
  }
  score_rows(net_.pool, net_.content, likely_, x, odds);
  repeat(request, odds);
}

// Words of the message come back: their own share of the logit, once each.
void Chooser::repeat(const Request& request, float* odds) const {
  std::vector<int64_t> words = request.message;
  std::sort(words.begin(), words.end());
  words.erase(std::unique(words.begin(), words.end()), words.end());
  for (const int64_t word : words) {
    const int64_t c = word - net_.sizes.num_fixed;
    if (c >= 0) odds[c] += net_.source.repetition[c];
  }
}

void Chooser::choose(const std::vector<Request*>& requests, const Selection& selection) {
  for (size_t i = 0; i < requests.size(); ++i) {
    const int64_t C = net_.content.rows;
    pick(*requests[i], selection,
         has_odds_ ? odds_.get() + static_cast<int64_t>(i) * C : nullptr);
  }
  gather(requests);
}

// Marks the words that come in whatever their beta.
void Chooser::take(const Request& r, const Selection& s) {
  taken_.assign(static_cast<size_t>(net_.sizes.V), 0);
  if (s.include != nullptr) taken_.assign(s.include, s.include + net_.sizes.V);
  if (s.message_words) {
    for (const int64_t word : r.message) taken_[static_cast<size_t>(word)] = 1;
  }
  std::fill_n(taken_.begin(), net_.sizes.num_fixed, uint8_t{1});
}

// Marks the content words of highest rank for which there is room; of equal ones the lower.
void Chooser::take_best(const Selection& s, const float* odds) {
  const int64_t fixed = net_.sizes.num_fixed, C = net_.content.rows;
  uint8_t* content = taken_.data() + fixed;
  rank_.resize(static_cast<size_t>(C));
  ordered_.clear();
  int64_t room = s.size - fixed;
  for (int64_t c = 0; c < C; ++c) {
    float& rank = rank_[static_cast<size_t>(c)];
    rank = s.penalty == nullptr ? odds[c] : log_sigmoid(odds[c]) - s.penalty[c];
    if (content[c] != 0) --room;
    else ordered_.push_back(rank);
  }
  room = std::min(room, static_cast<int64_t>(ordered_.size()));
  if (room <= 0) return;
  const auto last = ordered_.begin() + (room - 1);
  std::nth_element(ordered_.begin(), last, ordered_.end(), std::greater<>());
  const float limit = *last;
  int64_t equal = room - std::count_if(ordered_.begin(), last, [limit](float x) { return x > limit; });
  for (int64_t c = 0; c < C; ++c) {
    const float rank = rank_[static_cast<size_t>(c)];
    if (content[c] != 0 || rank < limit) continue;
    if (rank > limit || equal-- > 0) content[c] = 1;
  }
}

// Source: dvs2s/dynamic_vocab.py, select_words.
void Chooser::pick(Request& r, const Selection& s, const float* odds) {
  const int64_t V = net_.sizes.V, fixed = net_.sizes.num_fixed;
  r.ids.clear();
  r.full = s.choice == Choice::kFull || (s.choice == Choice::kSize && s.size >= V);
  if (s.choice == Choice::kGiven) {
    r.ids = r.given;
    r.full = static_cast<int64_t>(r.ids.size()) == V;
  } else if (r.full) {
    r.ids.resize(static_cast<size_t>(V));
    std::iota(r.ids.begin(), r.ids.end(), int64_t{0});
  } else {
    take(r, s);
    if (s.choice == Choice::kSize) take_best(s, odds);
    for (int64_t v = 0; v < V; ++v) {
      const bool above = s.choice == Choice::kThreshold && v >= fixed &&
          1.0f / (1.0f + std::exp(-odds[v - fixed])) >= s.threshold;
      if (above || taken_[static_cast<size_t>(v)] != 0) r.ids.push_back(v);
    }
  }
  r.log_odds.clear();
  for (const int64_t id : r.ids) {
    if (odds != nullptr && id >= fixed) r.log_odds.push_back(odds[id - fixed]);
  }
}

void Chooser::gather(const std::vector<Request*>& requests) {
  std::vector<int64_t> starts{0};
  for (Request* r : requests) {
    const auto K = static_cast<int64_t>(r->ids.size());
    const int64_t head = net_.head.rows;
    r->head = !r->full && K >= head && (head == 0 || r->ids[static_cast<size_t>(head - 1)] == head - 1)
        ? head : 0;
    if (r->full) net_.full();
    if (!r->full) r->rows.shape(net_.output, K - r->head);
    const int64_t blocks = r->full ? net_.full().blocks : r->rows.blocks;
    r->layout = {K, r->head + blocks * kBlockRows};
    starts.push_back(starts.back() + (r->full ? 0 : blocks));
  }
  net_.pool.run(starts.back(), [&](int64_t task) {
    const auto i = std::upper_bound(starts.begin(), starts.end(), task) - starts.begin() - 1;
    Request& r = *requests[static_cast<size_t>(i)];
    r.rows.fill(net_.output, r.ids.data() + r.head, task - starts[static_cast<size_t>(i)], kMinusInf);
  });
}

}  // namespace dvs2s::engine
