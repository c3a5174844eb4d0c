// Continuous batching: requests join and leave between steps, and none feels the others.
//
// Every sum is made in one order whoever shares the step, so a reply is the same alone and in
// company, on one thread and on many.
#pragma once

#include <memory>
#include <unordered_map>
#include <vector>

#include "chooser.h"
#include "network.h"
#include "reader.h"
#include "request.h"

namespace dvs2s::engine {

struct NewRequest {
  std::vector<int64_t> message;
  std::vector<double> uniforms;  // sampling: (max_length, num_best)
  std::vector<int64_t> given;    // the vocabulary's ids, where it is given
};

// A word of a reply, as soon as it is certain; end of sentence included.
struct Event {
  int64_t request, reply, word;
};

class Batch {
 public:
  explicit Batch(Network& network) : net_(network), reader_(network), chooser_(network) {}

  // Reads the messages and chooses their words; the first scores come with the next step.
  std::vector<int64_t> add(
      std::vector<NewRequest> requests, const SearchOptions& options, const Selection& selection);
  // One word further for everybody. Requests that end move to the ended ones.
  void step();
  bool idle() const { return active_.empty(); }
  int64_t active() const { return static_cast<int64_t>(active_.size()); }
  // Forgets a request; its place is free at once. False when there is no such request.
  bool cancel(int64_t id);
  // Ends a request with the words that it has. False when it is not active.
  bool stop(int64_t id);
  // The ended request, or nullptr; it stays until it is released.
  const Request* ended(int64_t id) const;
  // The request, active or ended, or nullptr.
  const Request* find(int64_t id) const;
  std::vector<int64_t> ended_ids() const;
  void release(int64_t id);

  std::vector<Event> take_events() { return std::exchange(events_, {}); }
  Network& network() { return net_; }
  Seconds seconds{};
  // Requests whose memory is kept for the next ones: bounded, so that memory does not grow.
  int64_t spare() const { return static_cast<int64_t>(spare_.size()); }

 private:
  struct Parent {
    Request* request;
    int32_t column;
    int64_t first_child, children;  // in children_
  };
  struct Child {
    Request* request;
    int64_t column;  // of the request
    int64_t word;    // its id, then its place among the step's distinct words
    const float* gates;  // the word's part of them
  };
  struct Product {  // output rows [first, last) in blocks times groups, statistics of one chunk
    const Matrix* rows;
    int64_t first, last, group_begin, group_end, slot;
  };

  std::unique_ptr<Request> fresh();
  void retire(std::unique_ptr<Request> request);
  std::unique_ptr<Request> remove(int64_t id);

  void line_up();
  void find_words();
  void multiply_cell();
  void advance_states();
  void attend(const Parent& parent, int64_t index);
  void plan_output();
  void multiply_output();
  void add_products(const Matrix& rows, int64_t group_begin, int64_t group_end, int64_t slot);
  void search_all();
  Advance search_one(Request& request);

  Network& net_;
  Reader reader_;
  Chooser chooser_;
  std::vector<std::unique_ptr<Request>> active_, spare_;
  std::unordered_map<int64_t, std::unique_ptr<Request>> ended_;
  std::vector<Event> events_;
  int64_t next_id_ = 0;

  // Of a step.
  std::vector<Parent> parents_;
  std::vector<Child> children_;
  std::vector<int64_t> words_;  // distinct ones whose gates are not kept
  std::vector<int32_t> word_place_;  // (V): place among words_, valid where words_ agrees
  Columns parent_x_, word_x_, state_x_;
  Buffer<float> cells_, word_gates_, context_, exp_query_, weights_;
  int64_t longest_ = 0, columns_ = 0, places_ = 0, chunks_ = 0;
  std::vector<Product> products_;
  Buffer<float> logits_, chunk_largest_, chunk_sum_, largest_, log_sum_;
  std::vector<Advance> outcome_;
};

}  // namespace dvs2s::engine
