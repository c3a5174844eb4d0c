#include "network.h"

#include "search.h"

namespace dvs2s::engine {
namespace {

void pack_all(Pool& pool, const RowStore& store, int64_t rows, Matrix* to) {
  to->shape(store, rows);
  pool.run(to->blocks, [&](int64_t block) { to->fill(store, nullptr, block, kMinusInf); });
}

}  // namespace

Network::Network(const NetworkSizes& s, const Source& from, Precision p, int threads)
    : sizes(s), source(from), precision(p), pool(threads) {
  const int64_t gates = 3 * s.H, wide = source_width();
  input.pack(
      p, {{from.input[0], from.input_bias[0], gates}, {from.input[1], from.input_bias[1], gates}},
      s.E);
  for (int d = 0; d < 2; ++d) {
    recurrent[d].pack(p, {{from.recurrent[d], from.recurrent_bias[d], gates}}, s.H);
  }
  memory.pack(p, {{from.key, from.key_bias, s.H}, {from.context_gates, nullptr, gates}}, wide);
  start.pack(p, {{from.start, from.start_bias, s.H}}, wide);
  cell.pack(p, {{from.state_gates, from.state_bias, gates}, {from.query, nullptr, s.H}}, s.H);
  word.pack(p, {{from.word_gates, from.word_bias, gates}}, s.E);
  // The choice of T is float32's in bf16, too: few of the rows are read.
  const Precision words = p == kInt8 ? kInt8 : kFloat32;
  hidden.pack(words, {{from.hidden, from.hidden_bias, s.D}}, 2 * s.bag);
  output.take(p, from.output, from.output_bias, s.V, s.H);
  content.take(words, from.content, from.content_bias, s.V - s.num_fixed, s.D);
  const int64_t content_words = s.V - s.num_fixed;
  if (from.num_directions > 0 && content_words > 0) {
    sketch.take(pool, from.content, from.content_bias, content_words, s.D, from.directions,
                from.num_directions);
  }
  pack_all(pool, output, s.num_fixed / kChunk * kChunk, &head);
}

const Matrix& Network::full() {
  if (full_.rows == 0) pack_all(pool, output, sizes.V, &full_);
  return full_;
}

}  // namespace dvs2s::engine
