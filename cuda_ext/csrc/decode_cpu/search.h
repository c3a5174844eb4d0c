// Search over one request's slots: the words and rules of dvs2s/decoding, one step at a time.
//
// The plain search (Python) is the definition; the order among equals is its order. It knows
// nothing of the network: it is given logits and says which hypotheses go on with which words.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

namespace dvs2s::engine {

constexpr float kMinusInf = -std::numeric_limits<float>::infinity();
constexpr int32_t kBegin = -1;  // the slot of a column that comes before the first word

enum class SearchKind : int { kGreedy = 0, kBeam = 1, kSampling = 2 };

struct SearchOptions {
  SearchKind kind;
  int64_t beam, num_best, min_length, max_length, block_ngram, top_k;
  double length_penalty, temperature, top_p;
};

// Logits of a request stand by slot, padded to whole blocks; padding holds -inf.
struct Layout {
  int64_t slots = 0, places = 0;
};
constexpr int64_t kChunk = 128;  // slots whose statistics are taken together, in this order

// Logits of the columns that a search asked for, and what makes log-probabilities of them.
struct Scores {
  float* logits;  // (columns, ld); forbidden words are overwritten by -inf
  int64_t ld;
  const float* largest;  // (columns)
  const float* log_sum;  // (columns): log of the sum of exp(logit - largest)
  const float* chunk_largest;  // (columns, chunk_ld): upper bounds, of kChunk slots each
  int64_t chunk_ld;
  float log_prob(int64_t column, int64_t slot) const {
    return logits[column * ld + slot] - largest[column] - log_sum[column];
  }
};

struct Found {
  std::vector<int32_t> slots;
  std::vector<double> values;  // log-probability of each word, and of end of sentence
  double score = 0, log_prob = 0;
  bool finished = false;
};

struct Column {
  int32_t parent;  // the column of the step before whose state this one continues
  int32_t slot;    // kBegin for the first
};

enum class Advance { kGoesOn, kDone, kNoNumbers };

class Search {
 public:
  Search(
      const SearchOptions& options, const Layout& layout, int64_t eos_slot,
      std::vector<int32_t> forbidden, const double* uniforms);
  virtual ~Search() = default;

  // What the next step has to score; never empty while the search goes on.
  const std::vector<Column>& columns() const { return columns_; }
  // Takes the scores of columns().
  virtual Advance advance(Scores scores) = 0;
  // Ends early, with the words that there are.
  virtual void stop() = 0;
  // Best first; after the end.
  const std::vector<Found>& replies() const { return replies_; }
  // (reply, slot) of the words just generated, where they are certain; not for a beam.
  const std::vector<Column>& newest() const { return newest_; }

 protected:
  double penalty(int64_t length) const;
  Found make(const int32_t* slots, const double* values, int64_t words, bool finished) const;
  // Overwrites what may not follow the words of a column by -inf.
  void constrain(const Scores& scores, int64_t column, const int32_t* words, int64_t length) const;
  bool has_numbers(const Scores& scores, int64_t column) const;

  SearchOptions options_;
  Layout layout_;
  int64_t eos_slot_;
  std::vector<int32_t> forbidden_;
  const double* uniforms_;  // (max_length, num_best), kept by the caller
  std::vector<Column> columns_{{0, kBegin}}, newest_;
  std::vector<Found> replies_;
};

std::unique_ptr<Search> make_search(
    const SearchOptions& options, const Layout& layout, int64_t eos_slot,
    std::vector<int32_t> forbidden, const double* uniforms);
std::unique_ptr<Search> make_beam(
    const SearchOptions& options, const Layout& layout, int64_t eos_slot,
    std::vector<int32_t> forbidden);
std::unique_ptr<Search> make_rollout(
    const SearchOptions& options, const Layout& layout, int64_t eos_slot,
    std::vector<int32_t> forbidden, const double* uniforms);

}  // namespace dvs2s::engine
