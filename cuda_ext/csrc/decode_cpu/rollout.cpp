// Greedy search and sampling, as dvs2s/decoding/rollout.py and sampling.py define them.
#include "search.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "memory.h"

namespace dvs2s::engine {
namespace {

class Rollout final : public Search {
 public:
  Rollout(
      const SearchOptions& options, const Layout& layout, int64_t eos_slot,
      std::vector<int32_t> forbidden, const double* uniforms)
      : Search(options, layout, eos_slot, std::move(forbidden), uniforms),
        rows_(static_cast<size_t>(options.kind == SearchKind::kGreedy ? 1 : options.num_best)),
        slots_(static_cast<int64_t>(rows_.size()) * options.max_length),
        values_(static_cast<int64_t>(rows_.size()) * options.max_length) {
    columns_.reserve(rows_.size());
    newest_.reserve(rows_.size());
  }

  Advance advance(Scores scores) override {
    const size_t given = columns_.size();
    for (size_t c = 0; c < given; ++c) {
      if (!has_numbers(scores, static_cast<int64_t>(c))) return Advance::kNoNumbers;
    }
    columns_.clear();
    newest_.clear();
    for (size_t r = 0; r < rows_.size(); ++r) {
      Row& row = rows_[r];
      if (row.ended) continue;
      choose(scores, static_cast<int64_t>(r));
      if (row.ended) continue;
      const int32_t parent = row.column;
      row.column = static_cast<int32_t>(columns_.size());
      columns_.push_back({parent, slots_[at(r) + length_]});
    }
    ++length_;
    if (!columns_.empty() && length_ < options_.max_length) return Advance::kGoesOn;
    collect();
    return Advance::kDone;
  }

  void stop() override { collect(); }

 private:
  struct Row {
    int32_t column = 0;
    int64_t words = 0;  // of the reply, once it has ended
    bool ended = false, finished = false;
  };

  int64_t at(size_t row) const { return static_cast<int64_t>(row) * options_.max_length; }

  void choose(const Scores& scores, int64_t r) {
    Row& row = rows_[static_cast<size_t>(r)];
    const int64_t here = at(static_cast<size_t>(r));
    constrain(scores, row.column, slots_.get() + here, length_);
    const int64_t slot = options_.kind == SearchKind::kGreedy ? best(scores, row.column)
                                                               : draw(scores, row.column, r);
    const float value = slot < 0 ? kMinusInf : scores.log_prob(row.column, slot);
    if (!(value > kMinusInf)) {  // nothing may follow these words
      row.ended = true, row.words = length_;
      newest_.push_back({static_cast<int32_t>(r), static_cast<int32_t>(eos_slot_)});
      return;
    }
    const auto chosen = static_cast<int32_t>(slot);
    newest_.push_back({static_cast<int32_t>(r), chosen});
    slots_[here + length_] = chosen;
    values_[here + length_] = value;
    if (slot == eos_slot_) row.ended = true, row.finished = true, row.words = length_;
  }

  // The first of the greatest log-probabilities: two logits may round to the same one.
  int64_t best(const Scores& scores, int64_t column) const {
    const float* line = scores.logits + column * scores.ld;
    const float most = *std::max_element(line, line + layout_.slots);
    if (!(most > kMinusInf)) return -1;
    const float slack =
        4e-6f * (std::fabs(most) + std::fabs(scores.largest[column]) + std::fabs(scores.log_sum[column]));
    int64_t chosen = -1;
    for (int64_t slot = 0; slot < layout_.slots; ++slot) {
      if (line[slot] < most - slack) continue;
      if (chosen < 0 || scores.log_prob(column, slot) > scores.log_prob(column, chosen)) {
        chosen = slot;
      }
    }
    return chosen;
  }

  // The slot at which the cumulative weight passes the sample's share of the whole.
  int64_t draw(const Scores& scores, int64_t column, int64_t sample) {
    candidates(scores, column);
    double top = -INFINITY;
    for (const int64_t slot : among_) {
      top = std::max(top, static_cast<double>(scores.log_prob(column, slot)));
    }
    if (!(top > -INFINITY)) return -1;
    weights_.resize(among_.size());
    for (size_t i = 0; i < among_.size(); ++i) {
      const double log_prob = scores.log_prob(column, among_[i]);
      weights_[i] = std::exp((log_prob - top) / options_.temperature);
    }
    if (options_.top_p < 1) cut_to_nucleus();
    sums_.resize(weights_.size());
    std::partial_sum(weights_.begin(), weights_.end(), sums_.begin());
    const double uniform = uniforms_[length_ * options_.num_best + sample];
    const auto found = std::upper_bound(sums_.begin(), sums_.end(), uniform * sums_.back());
    return among_[std::min(static_cast<size_t>(found - sums_.begin()), among_.size() - 1)];
  }

  // All slots, or the top_k best, rising; padding is left out.
  void candidates(const Scores& scores, int64_t column) {
    among_.clear();
    for (int64_t slot = 0; slot < layout_.slots; ++slot) among_.push_back(slot);
    const auto k = static_cast<size_t>(options_.top_k);
    if (k == 0 || k >= among_.size()) return;
    std::nth_element(
        among_.begin(), among_.begin() + static_cast<int64_t>(k) - 1, among_.end(),
        [&](int64_t a, int64_t b) {
          const float x = scores.log_prob(column, a), y = scores.log_prob(column, b);
          return x != y ? x > y : a < b;
        });
    among_.resize(k);
    std::sort(among_.begin(), among_.end());
  }

  // Sets the weights outside the fewest best words that hold the share top_p to 0.
  void cut_to_nucleus() {
    order_.resize(weights_.size());
    std::iota(order_.begin(), order_.end(), size_t{0});
    std::stable_sort(order_.begin(), order_.end(), [&](size_t a, size_t b) {
      return weights_[a] > weights_[b];
    });
    double total = 0;
    for (const size_t i : order_) total += weights_[i];
    double sum = 0;
    for (const size_t i : order_) {
      sum += weights_[i];
      if (sum - weights_[i] >= options_.top_p * total) weights_[i] = 0;
    }
  }

  void collect() {
    replies_.clear();
    for (size_t r = 0; r < rows_.size(); ++r) {
      const Row& row = rows_[r];
      const int64_t words = row.ended ? row.words : length_;
      replies_.push_back(make(slots_.get() + at(r), values_.get() + at(r), words, row.finished));
    }
    std::stable_sort(replies_.begin(), replies_.end(), [](const Found& a, const Found& b) {
      return a.score > b.score;
    });
  }

  std::vector<Row> rows_;
  Buffer<int32_t> slots_;  // (rows, max_length)
  Buffer<double> values_;
  int64_t length_ = 0;
  std::vector<int64_t> among_;
  std::vector<double> weights_, sums_;
  std::vector<size_t> order_;
};

}  // namespace

std::unique_ptr<Search> make_rollout(
    const SearchOptions& options, const Layout& layout, int64_t eos_slot,
    std::vector<int32_t> forbidden, const double* uniforms) {
  return std::make_unique<Rollout>(options, layout, eos_slot, std::move(forbidden), uniforms);
}

}  // namespace dvs2s::engine
