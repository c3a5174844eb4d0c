#include "narrow.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <limits>

#include "log_sigmoid.h"

namespace dvs2s::engine {
namespace {

const LogSigmoidBounds kLogSigmoid;

// The place-th largest, from 1; the order of the values is lost.
float largest_but(std::vector<float>& values, int64_t place) {
  const auto at = values.begin() + (place - 1);
  std::nth_element(values.begin(), at, values.end(), std::greater<>());
  return *at;
}

}  // namespace

int64_t Scored::place(int64_t word) const {
  if (all) return word;
  return std::lower_bound(which.begin(), which.end(), static_cast<int32_t>(word)) - which.begin();
}

Demand demand_of(const Request& request, const Selection& selection, int64_t fixed, int64_t V) {
  Demand demand;
  for (const int64_t word : request.message) {
    if (word >= fixed) demand.mentioned.push_back(static_cast<int32_t>(word - fixed));
  }
  std::sort(demand.mentioned.begin(), demand.mentioned.end());
  demand.mentioned.erase(
      std::unique(demand.mentioned.begin(), demand.mentioned.end()), demand.mentioned.end());
  std::vector<int32_t> included;
  for (int64_t v = fixed; selection.include != nullptr && v < V; ++v) {
    if (selection.include[v] != 0) included.push_back(static_cast<int32_t>(v - fixed));
  }
  const std::vector<int32_t> none;
  const auto& own = selection.message_words ? demand.mentioned : none;
  std::set_union(
      own.begin(), own.end(), included.begin(), included.end(), std::back_inserter(demand.taken));
  return demand;
}

void Narrower::list(
    const Sketch::Bounds& bounds, int64_t index, const Demand& demand, const Selection& selection,
    int64_t room, std::vector<int32_t>& out) {
  spread_ = bounds.spreads[static_cast<size_t>(index)];
  high_ = bounds.high.get() + index * bounds.blocks * kBlockRows;
  top_low_ = bounds.top_low.get() + index * bounds.blocks;
  top_high_ = bounds.top_high.get() + index * bounds.blocks;
  musts_.clear();
  std::set_union(
      demand.taken.begin(), demand.taken.end(), demand.mentioned.begin(), demand.mentioned.end(),
      std::back_inserter(musts_));
  float limit = std::log(selection.threshold / (1.0f - selection.threshold)) - 1e-4f;
  penalty_ = nullptr;
  if (selection.choice == Choice::kSize) {
    if (selection.penalty != nullptr) discount(bounds, selection.penalty);
    limit = limit_of(bounds, room - static_cast<int64_t>(demand.taken.size()));
  }
  found_.clear();
  for (int64_t block = 0; block < bounds.blocks; ++block) {
    if (top_high_[block] < limit) continue;
    const int64_t last = std::min(bounds.words, (block + 1) * kBlockRows);
    for (int64_t c = block * kBlockRows; c < last; ++c) {
      if (highest(c) >= limit) found_.push_back(static_cast<int32_t>(c));
    }
  }
  out.clear();
  std::set_union(
      found_.begin(), found_.end(), musts_.begin(), musts_.end(), std::back_inserter(out));
}

// The lower bounds of a block. Upper ones alone are kept: to write and read both takes longer.
void Narrower::lowest(const Sketch::Bounds& bounds, int64_t block, float* out) const {
  const int64_t first = block * kBlockRows;
  for (int64_t i = 0; i < kBlockRows; ++i) {
    const float error = spread_.error(bounds.rest[first + i], bounds.scale[first + i]);
    const float low = high_[first + i] - (error + error);
    out[i] = low == low ? low : kMinusInf;
  }
  if (penalty_ == nullptr) return;
  const int64_t n = std::min(kBlockRows, bounds.words - first);
  for (int64_t i = 0; i < n; ++i) out[i] = kLogSigmoid.low(out[i]) - penalty_[first + i];
}

float Narrower::highest(int64_t word) const {
  return penalty_ == nullptr ? high_[word] : kLogSigmoid.high(high_[word]) - penalty_[word];
}

// The room-th largest lower bound of the words that are not named. The greatest bounds of blocks
// tell which few have to be looked into: at least `room` words of others are not below them.
float Narrower::limit_of(const Sketch::Bounds& bounds, int64_t room) {
  if (room <= 0) return std::numeric_limits<float>::infinity();
  const float floor = floor_of(bounds.blocks, room + static_cast<int64_t>(musts_.size()));
  ordered_.clear();
  for (int64_t block = 0; block < bounds.blocks; ++block) {
    if (top_low_[block] < floor) continue;
    float lows[kBlockRows];
    lowest(bounds, block, lows);
    const int64_t first = block * kBlockRows, n = std::min(kBlockRows, bounds.words - first);
    for (int64_t i = 0; i < n; ++i) {
      if (lows[i] < floor) continue;
      if (!std::binary_search(musts_.begin(), musts_.end(), static_cast<int32_t>(first + i))) {
        ordered_.push_back(lows[i]);
      }
    }
  }
  if (room >= static_cast<int64_t>(ordered_.size())) return kMinusInf;
  return largest_but(ordered_, room);
}

// The enough-th largest of the blocks' greatest lower bounds, which at least `enough` words reach;
// -inf where there are fewer blocks. Groups of blocks first: to order all blocks takes longer.
float Narrower::floor_of(int64_t blocks, int64_t enough) {
  constexpr int64_t kGroup = 16;
  if (enough > blocks) return kMinusInf;
  float floor = kMinusInf;
  if ((blocks + kGroup - 1) / kGroup >= enough) {
    ordered_.clear();
    for (int64_t first = 0; first < blocks; first += kGroup) {
      const float* from = top_low_ + first;
      ordered_.push_back(*std::max_element(from, from + std::min(kGroup, blocks - first)));
    }
    floor = largest_but(ordered_, enough);
  }
  ordered_.clear();
  std::copy_if(top_low_, top_low_ + blocks, std::back_inserter(ordered_),
               [floor](float top) { return top >= floor; });
  return largest_but(ordered_, enough);
}

// Bounds of the blocks' ranks in the place of bounds of their scores. Those of words are made where
// a block is looked into: neighbours are about as frequent, so that few blocks are.
void Narrower::discount(const Sketch::Bounds& bounds, const float* penalty) {
  penalty_ = penalty;
  for (auto* tops : {&tops_low_, &tops_high_}) tops->resize(static_cast<size_t>(bounds.blocks));
  for (int64_t block = 0; block < bounds.blocks; ++block) {
    const float* from = penalty + block * kBlockRows;
    const float* to = penalty + std::min(bounds.words, (block + 1) * kBlockRows);
    const auto [least, most] = std::minmax_element(from, to);
    tops_low_[static_cast<size_t>(block)] = kLogSigmoid.low(top_low_[block]) - *most;
    tops_high_[static_cast<size_t>(block)] = kLogSigmoid.high(top_high_[block]) - *least;
  }
  top_low_ = tops_low_.data(), top_high_ = tops_high_.data();
}

const std::vector<uint8_t>& Narrower::choose(
    const Scored& scored, const Demand& demand, const Selection& selection, int64_t room) {
  chosen_.assign(static_cast<size_t>(scored.count), 0);
  for (const int32_t word : demand.taken) chosen_[static_cast<size_t>(scored.place(word))] = 1;
  if (selection.choice == Choice::kSize) {
    take_best(scored, selection, room - static_cast<int64_t>(demand.taken.size()));
    return chosen_;
  }
  for (int64_t i = 0; i < scored.count; ++i) {
    if (1.0f / (1.0f + std::exp(-scored.odds[i])) >= selection.threshold) {
      chosen_[static_cast<size_t>(i)] = 1;
    }
  }
  return chosen_;
}

void Narrower::take_best(const Scored& scored, const Selection& selection, int64_t room) {
  rank_.resize(static_cast<size_t>(scored.count));
  ordered_.clear();
  for (int64_t i = 0; i < scored.count; ++i) {
    float& rank = rank_[static_cast<size_t>(i)];
    rank = scored.odds[i];
    if (selection.penalty != nullptr) {
      rank = log_sigmoid(rank) - selection.penalty[scored.word(i)];
    }
    if (chosen_[static_cast<size_t>(i)] == 0) ordered_.push_back(rank);
  }
  room = std::min(room, static_cast<int64_t>(ordered_.size()));
  if (room <= 0) return;
  const float limit = largest_but(ordered_, room);
  int64_t equal = room - std::count_if(ordered_.begin(), ordered_.begin() + (room - 1),
                                       [limit](float x) { return x > limit; });
  for (int64_t i = 0; i < scored.count; ++i) {
    const float rank = rank_[static_cast<size_t>(i)];
    uint8_t& chosen = chosen_[static_cast<size_t>(i)];
    if (chosen != 0 || rank < limit) continue;
    if (rank > limit || equal-- > 0) chosen = 1;
  }
}

}  // namespace dvs2s::engine
