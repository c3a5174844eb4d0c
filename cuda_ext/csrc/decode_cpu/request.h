// One message on its way to its replies: what it asks for, and what the engine keeps of it.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "matrix.h"
#include "search.h"

namespace dvs2s::engine {

enum class Choice : int { kSize = 0, kThreshold = 1, kFull = 2, kGiven = 3 };

// How a request's vocabulary is chosen; pointers are read while it is being added.
struct Selection {
  Choice choice;
  int64_t size;
  float threshold;
  bool message_words;  // the message's own words come in
  bool wants_odds;     // the logits of beta are wanted although the choice does not need them
  const float* penalty = nullptr;    // (V - num_fixed), taken from the rank of kSize
  const uint8_t* include = nullptr;  // (V), words that come in
  const uint8_t* forbid = nullptr;   // (V), words that are never generated
};

struct Request {
  int64_t id = 0;
  std::vector<int64_t> message;
  SearchOptions options{};
  std::vector<double> uniforms;
  std::vector<int64_t> given;  // kGiven: rising ids

  // Of the message: attention keys and context gates of its words (S, memory.ld()), exp(2 key)
  // (S, H) and the greatest |key|.
  Buffer<float> memory, exp_keys;
  float key_range = 0;
  // Of its vocabulary: ids, logits of beta of its content words, rows packed but for the first
  // `head` words, whose rows are shared by all.
  std::vector<int64_t> ids;
  std::vector<float> log_odds;
  Layout layout;
  int64_t head = 0;
  bool full = false;
  Matrix rows;

  // Of the search: decoder states (columns, H) behind the last scores, and those to come.
  Buffer<float> states[2];
  int now = 0;
  std::unique_ptr<Search> search;
  int64_t first_column = 0;  // of this step, in the batch's
  bool failed = false;       // a log-probability was no number
};

// Seconds by stage: encode, predict, select, search.
using Seconds = std::array<double, 4>;

}  // namespace dvs2s::engine
