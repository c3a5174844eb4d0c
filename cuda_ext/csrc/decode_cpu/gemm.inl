// Register tiles of packed products for an arithmetic D of one instruction set. Included inside an
// anonymous namespace of each instruction set's file, after its `#pragma GCC target`, so that no
// copy compiled for one processor is ever linked into another's path.
//
// D has: Acc (16 rows), Weight, Column, zero(), load(p), column(p), fma(acc, w, x),
//   store(acc, call, row, column).

template <class D, int R, int N>
inline __attribute__((always_inline)) void tile(const Gemm& g, int64_t block) {
  typename D::Acc acc[R][N];
  const char* w[R];
  for (int r = 0; r < R; ++r) {
    w[r] = g.w + (block + r) * g.units * kBlockRows * kUnitBytes;
    for (int c = 0; c < N; ++c) acc[r][c] = D::zero();
  }
  const char* x = g.x;
  for (int64_t k = 0; k < g.units; ++k, x += N * kUnitBytes) {
    typename D::Weight rows[R];
    for (int r = 0; r < R; ++r) rows[r] = D::load(w[r] + k * kBlockRows * kUnitBytes);
    for (int c = 0; c < N; ++c) {
      const typename D::Column column = D::column(x + c * kUnitBytes);
      for (int r = 0; r < R; ++r) acc[r][c] = D::fma(acc[r][c], rows[r], column);
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < N; ++c) D::store(acc[r][c], g, (block + r) * kBlockRows, c);
  }
}

template <class D, int N>
void columns(const Gemm& g) {
  constexpr int R = D::kAccumulators / N < 1 ? 1 : (D::kAccumulators / N > 8 ? 8 : D::kAccumulators / N);
  int64_t block = 0;
  for (; block + R <= g.blocks; block += R) tile<D, R, N>(g, block);
  for (; block < g.blocks; ++block) tile<D, 1, N>(g, block);
}

template <class D, int N = D::kMaxColumns>
void gemm(const Gemm& g) {
  if constexpr (N > 1) {
    if (g.n < N) return gemm<D, N - 1>(g);
  }
  columns<D, N>(g);
}
