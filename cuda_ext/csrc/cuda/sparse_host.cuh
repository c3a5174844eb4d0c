// What the sparse operators share on the host (sparse_host.cu).
#pragma once

#include "operators.cuh"
#include "sparse_args.cuh"

namespace dvs2s::gpu {

// The operands of a sparse operator, dense, with what the kernels are told of them.
struct SparseCall {
  Tensor hidden, weight, bias, ids, lengths;
  MaybeTensor scales;
  int64_t H = 0;
  SparseArgs args{};
};

// Checks the operands, each named in the error, and makes them dense.
SparseCall sparse_call(
    Task task, const Tensor& hidden, const Tensor& weight, const Tensor& bias, const Tensor& ids,
    const Tensor& lengths, const MaybeTensor& scales);

constexpr int64_t kTensorRows = 8;  // from so many rows on, tensor cores

// Words of a chunk, for so many rows.
int64_t words_of_chunk(int64_t rows);

// Sets chunks, splits and row tiles from the sizes, k and the number of multiprocessors.
void plan_sparse(SparseArgs& args, int64_t processors);

// Runs the task on every chunk.
void launch_sparse(const SparseCall& call, Stream stream);

}  // namespace dvs2s::gpu
