// The best slots of one row of logits.
#pragma once

#include <cstdint>

#include "kernels.h"

namespace dvs2s {

// The k best of n logits and their slots, falling, ties to the lower slot; -inf slots fill up in
// order. NaN counts as -inf.
void best(const Kernels& kernels, const float* z, int64_t n, int64_t k, float* top, int64_t* slots);

}  // namespace dvs2s
