// From bounds of the words' scores to those that could come in, and from scores to those that do.
#pragma once

#include <cstdint>
#include <vector>

#include "request.h"
#include "sketch.h"

namespace dvs2s::engine {

// Content words with the logits of their betas: all of them, or those listed.
struct Scored {
  bool all = true;
  std::vector<int32_t> which;  // rising, where not all
  float* odds = nullptr;
  int64_t count = 0;

  int64_t word(int64_t i) const { return all ? i : which[static_cast<size_t>(i)]; }
  // The place of a content word that is there.
  int64_t place(int64_t word) const;
};

// What one request's choice of content words comes down to.
struct Demand {
  std::vector<int32_t> taken;      // rising: they come in whatever their beta
  std::vector<int32_t> mentioned;  // rising: words of the message, whose logits have a share of it
};
Demand demand_of(const Request& request, const Selection& selection, int64_t fixed, int64_t V);

class Narrower {
 public:
  // Lists the words that could come in: all that `demand` names, and those whose upper bound is not
  // below the lower bounds of as many others as there is room for.
  void list(
      const Sketch::Bounds& bounds, int64_t index, const Demand& demand,
      const Selection& selection, int64_t room, std::vector<int32_t>& out);
  // Marks who comes in: the taken, and of the others those of highest rank (of equal ones the
  // lower word) or at the threshold. room: how many content words at most.
  const std::vector<uint8_t>& choose(
      const Scored& scored, const Demand& demand, const Selection& selection, int64_t room);

 private:
  void lowest(const Sketch::Bounds& bounds, int64_t block, float* out) const;
  float highest(int64_t word) const;
  float limit_of(const Sketch::Bounds& bounds, int64_t room);
  float floor_of(int64_t blocks, int64_t enough);
  void discount(const Sketch::Bounds& bounds, const float* penalty);
  void take_best(const Scored& scored, const Selection& selection, int64_t room);

  const float *high_ = nullptr, *top_low_ = nullptr, *top_high_ = nullptr;
  const float* penalty_ = nullptr;  // where words are ranked by it
  Spread spread_;
  std::vector<float> tops_low_, tops_high_;
  std::vector<int32_t> musts_, found_;
  std::vector<float> ordered_, rank_;
  std::vector<uint8_t> chosen_;
};

}  // namespace dvs2s::engine
