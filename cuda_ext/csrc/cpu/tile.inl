// Register tiles of dot products, for an arithmetic D of one instruction set. Included inside an
// anonymous namespace of each instruction set's file, after its `#pragma GCC target`, so that no
// copy compiled for one processor is ever linked into another's path.
//
// D has: Weight, Hidden (element types), Load (vector), Acc, kLanes, kMaxW, kMaxX, kOffset;
//   load_w, load_x (p), tail_w, tail_x (p, n), zero(), fma(acc, w, x), minus(acc, acc),
//   reduce(acc) -> float; where kMaxW is 4, reduce4(accs, out): the same sums of four;
//   offset(acc, w): acc plus kOffset times the lanes of w.

template <class D, int NW, int NX, bool kPrefetch>
inline __attribute__((always_inline)) void tile(
    const typename D::Weight* const* w, const typename D::Hidden* const* x, int64_t H, float* out,
    int64_t ld, const void* const* next) {
  typename D::Acc acc[NW][NX];
  typename D::Acc minus[NW];
  for (int i = 0; i < NW; ++i) {
    minus[i] = D::zero();
    for (int j = 0; j < NX; ++j) acc[i][j] = D::zero();
  }
  int64_t k = 0;
  for (; k + D::kLanes <= H; k += D::kLanes) {
    typename D::LoadW rows[NW];
    for (int i = 0; i < NW; ++i) {
      rows[i] = D::load_w(w[i] + k);
      if constexpr (kPrefetch) {
        __builtin_prefetch(static_cast<const typename D::Weight*>(next[i]) + k, 0, 3);
      }
      if constexpr (D::kOffset != 0) minus[i] = D::offset(minus[i], rows[i]);
    }
    for (int j = 0; j < NX; ++j) {
      const auto hidden = D::load_x(x[j] + k);
      for (int i = 0; i < NW; ++i) acc[i][j] = D::fma(acc[i][j], rows[i], hidden);
    }
  }
  if (k < H) {
    const int n = static_cast<int>(H - k);
    for (int i = 0; i < NW; ++i) {
      const auto row = D::tail_w(w[i] + k, n);
      if constexpr (D::kOffset != 0) minus[i] = D::offset(minus[i], row);
      for (int j = 0; j < NX; ++j) {
        acc[i][j] = D::fma(acc[i][j], row, D::tail_x(x[j] + k, n));
      }
    }
  }
  if constexpr (NW == 4) {
    for (int j = 0; j < NX; ++j) {
      typename D::Acc column[4];
      for (int i = 0; i < 4; ++i) {
        column[i] = D::kOffset != 0 ? D::minus(acc[i][j], minus[i]) : acc[i][j];
      }
      D::reduce4(column, out + j * ld);
    }
  } else {
    for (int i = 0; i < NW; ++i) {
      for (int j = 0; j < NX; ++j) {
        out[j * ld + i] =
            D::reduce(D::kOffset != 0 ? D::minus(acc[i][j], minus[i]) : acc[i][j]);
      }
    }
  }
}

template <class D, int NW, int NX>
inline void tile_or_less(
    const typename D::Weight* const* w, const typename D::Hidden* const* x, int nx, int64_t H,
    float* out, int64_t ld, const void* const* next) {
  if constexpr (NX > 1) {
    if (nx < NX) return tile_or_less<D, NW, NX - 1>(w, x, nx, H, out, ld, next);
  }
  if (next != nullptr) return tile<D, NW, NX, true>(w, x, H, out, ld, next);
  tile<D, NW, NX, false>(w, x, H, out, ld, next);
}

template <class D>
void dots(
    const void* const* w, int nw, const void* const* x, int nx, int64_t H, float* out, int64_t ld,
    const void* const* next) {
  const auto* rows = reinterpret_cast<const typename D::Weight* const*>(w);
  const auto* hidden = reinterpret_cast<const typename D::Hidden* const*>(x);
  int i = 0;
  for (; i + D::kMaxW <= nw; i += D::kMaxW) {
    for (int j = 0; j < nx; j += D::kMaxX) {
      tile_or_less<D, D::kMaxW, D::kMaxX>(
          rows + i, hidden + j, nx - j, H, out + j * ld + i, ld,
          next != nullptr && j == 0 ? next + i : nullptr);
    }
  }
  for (; i < nw; ++i) {
    for (int j = 0; j < nx; j += D::kMaxX) {
      tile_or_less<D, 1, D::kMaxX>(
          rows + i, hidden + j, nx - j, H, out + j * ld + i, ld,
          next != nullptr && j == 0 ? next + i : nullptr);
    }
  }
}
