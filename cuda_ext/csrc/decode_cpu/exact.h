// Rounded scores, made float32's where they decide: at the words that may be a state's best.
#pragma once

#include "network.h"
#include "request.h"

namespace dvs2s::engine {

// Logits of one state's words, and what is known of them.
struct Line {
  float* logits;         // by slot
  float* chunk_largest;  // upper bounds, of kChunk slots each
  int64_t chunks;
  float largest;  // of the rounded logits
  float sum;      // of exp(logit - largest)
};

// Computes the logits next below the largest again, from float32 rows, and puts them in place of
// the rounded ones. Returns the sum as it is then. A word's new logit depends on the state alone.
float make_exact(const Network& net, const Request& request, const float* state, Line line);

}  // namespace dvs2s::engine
