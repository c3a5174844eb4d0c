#include "search.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace dvs2s::engine {

Search::Search(
    const SearchOptions& options, const Layout& layout, int64_t eos_slot,
    std::vector<int32_t> forbidden, const double* uniforms)
    : options_(options),
      layout_(layout),
      eos_slot_(eos_slot),
      forbidden_(std::move(forbidden)),
      uniforms_(uniforms) {}

double Search::penalty(int64_t length) const {
  return std::pow((5.0 + static_cast<double>(length)) / 6.0, options_.length_penalty);
}

Found Search::make(
    const int32_t* slots, const double* values, int64_t words, bool finished) const {
  Found found;
  found.slots.assign(slots, slots + words);
  found.values.assign(values, values + words + (finished ? 1 : 0));
  for (const double value : found.values) found.log_prob += value;
  found.score = found.log_prob / penalty(static_cast<int64_t>(found.values.size()));
  found.finished = finished;
  return found;
}

void Search::constrain(
    const Scores& scores, int64_t column, const int32_t* words, int64_t length) const {
  float* line = scores.logits + column * scores.ld;
  for (const int32_t slot : forbidden_) line[slot] = kMinusInf;
  if (length < options_.min_length) line[eos_slot_] = kMinusInf;
  const int64_t order = options_.block_ngram;
  if (order < 1 || order > length) return;
  const int32_t* tail = words + length - (order - 1);
  for (int64_t i = 0; i + order <= length; ++i) {
    if (std::equal(tail, words + length, words + i)) {
      line[words[i + order - 1]] = kMinusInf;
    }
  }
}

bool Search::has_numbers(const Scores& scores, int64_t column) const {
  return std::isfinite(scores.largest[column]) && std::isfinite(scores.log_sum[column]);
}

std::unique_ptr<Search> make_search(
    const SearchOptions& options, const Layout& layout, int64_t eos_slot,
    std::vector<int32_t> forbidden, const double* uniforms) {
  if (options.kind == SearchKind::kBeam) {
    return make_beam(options, layout, eos_slot, std::move(forbidden));
  }
  return make_rollout(options, layout, eos_slot, std::move(forbidden), uniforms);
}

}  // namespace dvs2s::engine
