// The logarithm of the sigmoid, and cheap bounds of it for when most values are only compared.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>

namespace dvs2s::engine {

inline float log_sigmoid(float x) {
  return std::min(x, 0.0f) - std::log1p(std::exp(-std::fabs(x)));
}

// Chords of log sigmoid. The curve is concave, so they lie below it, by at most step^2 / 8 times its
// greatest curvature, 1/4; and it is x and 0 to within 3e-9 beyond the reach.
class LogSigmoidBounds {
 public:
  LogSigmoidBounds() {
    for (size_t i = 0; i < at_.size(); ++i) {
      at_[i] = log_sigmoid(static_cast<float>(i) / kPerUnit - kReach);
    }
  }

  // Not above log_sigmoid(x), as float32 gives it; NaN where x is.
  float low(float x) const { return chord(x) - kRounding; }
  // Not below it.
  float high(float x) const { return chord(x) + (kSag + kRounding); }

 private:
  static constexpr int kPerUnit = 32, kReach = 20;
  static constexpr float kSag = 1.0f / (32.0f * kPerUnit * kPerUnit), kRounding = 2e-5f;

  float chord(float x) const {
    if (!(x > -kReach)) return x;
    if (x >= kReach) return 0.0f;
    const float place = (x + kReach) * kPerUnit;
    const auto i = static_cast<size_t>(place);
    return at_[i] + (place - static_cast<float>(i)) * (at_[i + 1] - at_[i]);
  }

  std::array<float, 2 * kReach * kPerUnit + 2> at_;  // at the ends of the chords, and one to spare
};

}  // namespace dvs2s::engine
