// Beam search, as dvs2s/decoding/beam.py defines it: the 2W best continuations of the live
// hypotheses; of the first W those that end are finished, the best W of the others live on.
#include "search.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "../cpu/kernels.h"
#include "memory.h"

namespace dvs2s::engine {
namespace {

struct Candidate {
  float total;  // in float32, finds the best
  int32_t parent;
  int64_t slot;
  double value, exact;  // in float64, orders them
};

// Whether a comes before b in the choice of the best.
bool ahead(const Candidate& a, const Candidate& b) {
  if (a.total != b.total) return a.total > b.total;
  return a.parent != b.parent ? a.parent < b.parent : a.slot < b.slot;
}

struct Live {
  std::vector<double> log_probs;
  Buffer<int32_t> slots;  // (beam, max_length)
  Buffer<double> values;
};

class Beam final : public Search {
 public:
  Beam(
      const SearchOptions& options, const Layout& layout, int64_t eos_slot,
      std::vector<int32_t> forbidden)
      : Search(options, layout, eos_slot, std::move(forbidden), nullptr) {
    for (Live* live : {&now_, &next_}) {
      live->log_probs.reserve(options.beam);
      live->slots.reserve(options.beam * options.max_length);
      live->values.reserve(options.beam * options.max_length);
    }
    now_.log_probs.push_back(0.0);
    best_.reserve(2 * options.beam + 1);
    replies_.reserve(options.num_best + 1);
  }

  Advance advance(Scores scores) override {
    for (size_t h = 0; h < now_.log_probs.size(); ++h) {
      const auto column = static_cast<int64_t>(h);
      if (!has_numbers(scores, column)) return Advance::kNoNumbers;
      constrain(scores, column, now_.slots.get() + column * options_.max_length, length_);
    }
    find_best(scores);
    take_finished();
    extend();
    ++length_;
    const double bound = next_.log_probs.empty() ? -INFINITY : next_.log_probs[0];
    const bool settled = bound / penalty(options_.max_length) <= worst();
    const bool leaves = settled || length_ == options_.max_length;
    if (leaves && replies_.empty()) {
      if (!collect(next_, length_)) collect(now_, length_ - 1);
    }
    std::swap(now_, next_);
    return leaves ? Advance::kDone : Advance::kGoesOn;
  }

  void stop() override {
    if (replies_.empty()) collect(now_, length_);
  }

 private:
  double worst() const {
    const bool full = static_cast<int64_t>(replies_.size()) == options_.num_best;
    return full ? replies_.back().score : -INFINITY;
  }

  // The 2W greatest totals; of equal ones the lower hypothesis, then the lower slot.
  void find_best(const Scores& scores) {
    const auto most = static_cast<size_t>(2 * options_.beam);
    best_.clear();
    for (size_t h = 0; h < now_.log_probs.size(); ++h) {
      const auto column = static_cast<int64_t>(h);
      const auto before = static_cast<float>(now_.log_probs[h]);
      const float* line = scores.logits + column * scores.ld;
      for (int64_t first = 0, chunk = 0; first < layout_.places; first += kChunk, ++chunk) {
        const float limit = lowest_logit(scores, column, before, most);
        if (scores.chunk_largest[column * scores.chunk_ld + chunk] < limit) continue;
        const int64_t n = std::min(kChunk, layout_.places - first);
        const int64_t hits = kernels().above(line + first, n, limit, hits_);
        for (int64_t i = 0; i < hits; ++i) {
          offer(scores, column, first + hits_[i], before, most);
        }
      }
    }
    std::sort(best_.begin(), best_.end(), [](const Candidate& a, const Candidate& b) {
      return a.parent != b.parent ? a.parent < b.parent : a.slot < b.slot;
    });
    std::stable_sort(best_.begin(), best_.end(), [](const Candidate& a, const Candidate& b) {
      return a.exact > b.exact;
    });
  }

  // A logit below it can not be among the best, whatever the rounding of its total.
  float lowest_logit(const Scores& scores, int64_t column, float before, size_t most) const {
    if (best_.size() < most) return kMinusInf;
    const float a = scores.largest[column], b = scores.log_sum[column], c = best_.front().total;
    const float slack = 1e-6f * (std::fabs(a) + std::fabs(b) + std::fabs(c) + std::fabs(before));
    return c - before + a + b - 4.0f * slack;
  }

  void offer(const Scores& scores, int64_t column, int64_t slot, float before, size_t most) {
    const float log_prob = scores.log_prob(column, slot);
    Candidate one{log_prob + before, static_cast<int32_t>(column), slot, log_prob, 0.0};
    if (!(one.total > kMinusInf)) return;
    one.exact = now_.log_probs[static_cast<size_t>(column)] + one.value;
    if (best_.size() == most) {
      if (!ahead(one, best_.front())) return;
      std::pop_heap(best_.begin(), best_.end(), ahead);
      best_.pop_back();
    }
    best_.push_back(one);
    std::push_heap(best_.begin(), best_.end(), ahead);
  }

  bool ends(const Candidate& one) const { return one.slot == eos_slot_; }

  void take_finished() {
    const double divisor = penalty(length_ + 1), bar = worst();
    const size_t first = std::min(best_.size(), static_cast<size_t>(options_.beam));
    for (size_t i = 0; i < first; ++i) {
      const Candidate& one = best_[i];
      if (!ends(one) || !(one.exact / divisor > bar)) continue;
      double* values = now_.values.get() + one.parent * options_.max_length;
      values[length_] = one.value;
      Found found = make(
          now_.slots.get() + one.parent * options_.max_length, values, length_, true);
      // Behind equal ones: those were finished earlier, or come from a lower hypothesis.
      const auto place = std::upper_bound(
          replies_.begin(), replies_.end(), found.score,
          [](double score, const Found& other) { return score > other.score; });
      replies_.insert(place, std::move(found));
      if (static_cast<int64_t>(replies_.size()) > options_.num_best) replies_.pop_back();
    }
  }

  // The first W candidates that go on become the next live hypotheses, and the next columns.
  void extend() {
    next_.log_probs.clear();
    columns_.clear();
    const int64_t width = options_.max_length;
    for (const Candidate& one : best_) {
      const auto row = static_cast<int64_t>(next_.log_probs.size());
      if (row == options_.beam) break;
      if (ends(one)) continue;
      const auto slot = static_cast<int32_t>(one.slot);
      next_.log_probs.push_back(one.exact);
      std::copy_n(now_.slots.get() + one.parent * width, length_, next_.slots.get() + row * width);
      std::copy_n(now_.values.get() + one.parent * width, length_, next_.values.get() + row * width);
      next_.slots[row * width + length_] = slot;
      next_.values[row * width + length_] = one.value;
      columns_.push_back({one.parent, slot});
    }
  }

  // Takes the best live hypotheses as they are; false when there is none.
  bool collect(const Live& live, int64_t words) {
    const size_t most = std::min(live.log_probs.size(), static_cast<size_t>(options_.num_best));
    for (size_t h = 0; h < most; ++h) {
      const int64_t at = static_cast<int64_t>(h) * options_.max_length;
      replies_.push_back(make(live.slots.get() + at, live.values.get() + at, words, false));
    }
    return most > 0;
  }

  Live now_, next_;
  int64_t length_ = 0;
  std::vector<Candidate> best_;
  int32_t hits_[kChunk];
};

}  // namespace

std::unique_ptr<Search> make_beam(
    const SearchOptions& options, const Layout& layout, int64_t eos_slot,
    std::vector<int32_t> forbidden) {
  return std::make_unique<Beam>(options, layout, eos_slot, std::move(forbidden));
}

}  // namespace dvs2s::engine
