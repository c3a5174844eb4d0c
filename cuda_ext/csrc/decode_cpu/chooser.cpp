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
constexpr int64_t kTaskRows = kMostWords;  // of one call of the dots
constexpr int64_t kMostColumns = 16;
constexpr int64_t kTogether = 12;  // messages whose bounds are in memory at once
// The sketch pays where at most one word in so many comes in.
constexpr int64_t kFewOf = 4;
// How sure it has to be, in deviations. A likelihood, not a proof: docs/engine.md says what was
// measured.
constexpr float kDeviations = 4.0f, kSureDeviations = 8.0f;

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
  demands_.clear();
  for (const Request* r : requests) {
    demands_.push_back(demand_of(*r, selection, net_.sizes.num_fixed, net_.sizes.V));
  }
  scored_.resize(requests.size());
  convert_guesses(static_cast<int64_t>(requests.size()));
  // Not a question of how many messages there are: a reply does not depend on its company.
  const bool few = selection.size - net_.sizes.num_fixed < net_.content.rows / kFewOf;
  if (!net_.sketch.empty() && (above || (best && few))) {
    list_likely(requests, selection);
    score_listed();
  } else {
    score_all();
  }
  repeat();
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

// Bytes a guess takes among rows_: what the content rows take, and room for its sum in int8.
int64_t Chooser::guess_bytes() const {
  return round_up(net_.content.units * kUnitBytes + kSumBytes, 64);  // whole cache lines
}

// The guesses in the precision that the content rows have.
void Chooser::convert_guesses(int64_t count) {
  const int64_t D = net_.sizes.D;
  rows_.reserve(count * guess_bytes());
  scales_.reserve(count);
  for (int64_t i = 0; i < count; ++i) {
    char* row = rows_.get() + i * guess_bytes();
    scales_[i] = step_kernels().to_row[net_.content.precision](
        guess_.get() + i * net_.hidden.ld(), D, net_.content.units, row);
    if (net_.content.precision == kInt8) {  // 128 more than the dots take
      auto* values = reinterpret_cast<int8_t*>(row);
      int32_t sum = 0;
      for (int64_t k = 0; k < D; ++k) sum += values[k] = static_cast<int8_t>(values[k] ^ 0x80);
      set_quantised_sum(values, D, sum);
    }
  }
}

void Chooser::list_likely(const std::vector<Request*>& requests, const Selection& selection) {
  const float deviations = net_.precision == kInt8 ? kDeviations : kSureDeviations;
  const auto count = static_cast<int64_t>(requests.size());
  const int64_t room = selection.size - net_.sizes.num_fixed, ld = net_.hidden.ld();
  for (int64_t first = 0; first < count; first += kTogether) {
    const int64_t n = std::min(kTogether, count - first);
    net_.sketch.bound(net_.pool, guess_.get() + first * ld, ld, n, deviations, bounds_);
    for (int64_t i = 0; i < n; ++i) {
      const auto at = static_cast<size_t>(first + i);
      narrower_.list(bounds_, i, demands_[at], selection, room, scored_[at].which);
      scored_[at].all = false;
      scored_[at].count = static_cast<int64_t>(scored_[at].which.size());
    }
  }
}

void Chooser::score_listed() {
  std::vector<int64_t> tasks{0}, starts;
  int64_t total = 0;
  for (const Scored& scored : scored_) {
    starts.push_back(total);
    total += scored.count;
    tasks.push_back(tasks.back() + (scored.count + kTaskRows - 1) / kTaskRows);
  }
  float* odds = odds_.reserve(total);
  for (size_t i = 0; i < scored_.size(); ++i) scored_[i].odds = odds + starts[i];
  net_.pool.run(tasks.back(), [&](int64_t task) {
    const auto i = std::upper_bound(tasks.begin(), tasks.end(), task) - tasks.begin() - 1;
    const auto at = static_cast<size_t>(i);
    const int64_t first = (task - tasks[at]) * kTaskRows;
    const int64_t last = std::min(scored_[at].count, first + kTaskRows);
    score_rows(scored_[at], first, last, i, 1, odds + starts[at] + first, kTaskRows);
  });
}

// All rows are read once for all messages.
void Chooser::score_all() {
  const int64_t C = net_.content.rows;
  const auto count = static_cast<int64_t>(scored_.size());
  float* odds = odds_.reserve(count * C);
  for (int64_t i = 0; i < count; ++i) {
    Scored& scored = scored_[static_cast<size_t>(i)];
    scored.all = true;
    scored.count = C;
    scored.odds = odds + i * C;
  }
  net_.pool.run((C + kTaskRows - 1) / kTaskRows, [&](int64_t task) {
    const int64_t first = task * kTaskRows, last = std::min(C, first + kTaskRows);
    for (int64_t i = 0; i < count; i += kMostColumns) {
      const int64_t n = std::min<int64_t>(kMostColumns, count - i);
      score_rows(scored_[0], first, last, i, n, odds + i * C + first, C);
    }
  });
}

// Logits of words first..last - 1 of those scored, for some messages: out[message * ld + word].
void Chooser::score_rows(
    const Scored& scored, int64_t first, int64_t last, int64_t x_first, int64_t x_count,
    float* out, int64_t ld) const {
  const RowStore& store = net_.content;
  const bool is_int8 = store.precision == kInt8;
  const Dots dots = is_int8 ? kernels().int8 : kernels().f32;
  const int64_t n = last - first;
  const void* w[kTaskRows + 4];
  const void* x[kMostColumns];
  for (int64_t r = 0; r < n + 4; ++r) {
    w[r] = store.row(scored.word(std::min(first + r, scored.count - 1)));
  }
  for (int64_t j = 0; j < x_count; ++j) x[j] = rows_.get() + (x_first + j) * guess_bytes();
  dots(w, static_cast<int>(n), x, static_cast<int>(x_count), store.columns, out, ld, w + 4);
  for (int64_t j = 0; j < x_count; ++j) {
    for (int64_t r = 0; r < n; ++r) {
      const int64_t word = scored.word(first + r);
      const float scale = is_int8 ? store.scale[word] * scales_[x_first + j] : 1.0f;
      const float z = out[j * ld + r] * scale + store.bias[word];
      out[j * ld + r] = z == z ? z : kMinusInf;  // an order among them is needed
    }
  }
}

// Words of the message come back: their own share of the logit.
void Chooser::repeat() {
  for (size_t i = 0; i < scored_.size(); ++i) {
    for (const int32_t word : demands_[i].mentioned) {
      scored_[i].odds[scored_[i].place(word)] += net_.source.repetition[word];
    }
  }
}

void Chooser::choose(const std::vector<Request*>& requests, const Selection& selection) {
  for (size_t i = 0; i < requests.size(); ++i) pick(*requests[i], selection, i);
  gather(requests);
}

// Source: dvs2s/dynamic_vocab.py, select_words.
void Chooser::pick(Request& r, const Selection& s, size_t index) {
  const int64_t V = net_.sizes.V, fixed = net_.sizes.num_fixed;
  r.log_odds.clear();
  r.full = s.choice == Choice::kFull || (s.choice == Choice::kSize && s.size >= V);
  if (s.choice == Choice::kGiven) {
    r.ids = r.given;
    r.full = static_cast<int64_t>(r.ids.size()) == V;
  } else {
    r.ids.resize(static_cast<size_t>(r.full ? V : fixed));
    std::iota(r.ids.begin(), r.ids.end(), int64_t{0});
  }
  if (!has_odds_) return;
  const Scored& scored = scored_[index];
  if (r.full || s.choice == Choice::kGiven) {  // all words are scored
    for (const int64_t id : r.ids) {
      if (id >= fixed) r.log_odds.push_back(scored.odds[id - fixed]);
    }
    return;
  }
  const auto& chosen = narrower_.choose(scored, demands_[index], s, s.size - fixed);
  for (int64_t i = 0; i < scored.count; ++i) {
    if (chosen[static_cast<size_t>(i)] == 0) continue;
    r.ids.push_back(fixed + scored.word(i));
    r.log_odds.push_back(scored.odds[i]);
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
