// What the kernels ask of the machine. With nvcc it is the GPU; with DVS2S_EMULATE it is one CPU
// core that runs every thread of a block in turn (emulation/machine.h), so that the same kernels
// are tested where there is no GPU.
//
// Every block and grid is one-dimensional. Warp functions are called by all 32 lanes.
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef DVS2S_EMULATE

#include "emulation/machine.h"

#else

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

// A kernel for blocks of at most `threads`, of which `blocks` are meant to fit a multiprocessor:
// what the compiler may spend on registers.
#define DVS2S_KERNEL(threads, blocks) \
  [[maybe_unused]] static __global__ void __launch_bounds__(threads, blocks)
#define DVS2S_DEVICE __device__ __forceinline__

namespace dvs2s::gpu {

using Stream = cudaStream_t;

DVS2S_DEVICE int thread_index() { return static_cast<int>(threadIdx.x); }
DVS2S_DEVICE int block_size() { return static_cast<int>(blockDim.x); }
DVS2S_DEVICE int64_t block_index() { return static_cast<int64_t>(blockIdx.x); }
DVS2S_DEVICE int64_t num_blocks() { return static_cast<int64_t>(gridDim.x); }
DVS2S_DEVICE void sync_block() { __syncthreads(); }
DVS2S_DEVICE void sync_warp() { __syncwarp(); }

DVS2S_DEVICE char* shared_memory() {
  extern __shared__ __align__(128) char memory[];
  return memory;
}

template <class T>
DVS2S_DEVICE T shuffle(T value, int lane) {
  return __shfl_sync(0xffffffffu, value, lane);
}
template <class T>
DVS2S_DEVICE T shuffle_xor(T value, int mask) {
  return __shfl_xor_sync(0xffffffffu, value, mask);
}
DVS2S_DEVICE uint32_t ballot(bool yes) { return __ballot_sync(0xffffffffu, yes); }
DVS2S_DEVICE int count_bits(uint32_t bits) { return __popc(bits); }

DVS2S_DEVICE void add_atomic(float* at, float value) { atomicAdd(at, value); }
DVS2S_DEVICE void add_atomic(int* at, int value) { atomicAdd(at, value); }
DVS2S_DEVICE void or_atomic(uint32_t* at, uint32_t bits) { atomicOr(at, bits); }

// Adds to at[0] and at[1]; one instruction on sm_90 where `at` is aligned to 8 bytes.
DVS2S_DEVICE void add_atomic_pair(float* at, float x, float y) {
#if __CUDA_ARCH__ >= 900
  if ((reinterpret_cast<uintptr_t>(at) & 7) == 0) {
    atomicAdd(reinterpret_cast<float2*>(at), make_float2(x, y));
    return;
  }
#endif
  atomicAdd(at, x);
  atomicAdd(at + 1, y);
}

DVS2S_DEVICE uint32_t float_bits(float x) { return __float_as_uint(x); }
DVS2S_DEVICE float bits_float(uint32_t x) { return __uint_as_float(x); }
DVS2S_DEVICE float half_to_float(uint16_t bits) { return __half2float(__ushort_as_half(bits)); }
DVS2S_DEVICE uint16_t float_to_half(float x) { return __half_as_ushort(__float2half_rn(x)); }
DVS2S_DEVICE uint16_t float_to_bfloat(float x) {
  return __bfloat16_as_ushort(__float2bfloat16_rn(x));
}
DVS2S_DEVICE uint32_t float_to_tf32(float x) {
  uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
}

// Copies 16 bytes (`bytes` = 16) or writes 16 zeros (`bytes` = 0) to shared memory, later.
DVS2S_DEVICE void copy_async16(void* shared, const void* global, int bytes) {
  const uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :: "r"(at), "l"(global), "r"(bytes) : "memory");
}
DVS2S_DEVICE void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most kPending of this thread's committed groups are under way.
template <int kPending>
DVS2S_DEVICE void wait_copies() {
  asm volatile("cp.async.wait_group %0;" :: "n"(kPending) : "memory");
}

// Four 8 x 8 matrices of 16-bit elements; lane i gives the address of row i % 8 of matrix i / 8.
DVS2S_DEVICE void load_matrices(uint32_t (&out)[4], const void* row) {
  const uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3]) : "r"(at) : "memory");
}

// c (16 x 8 float32) += a (16 rows) · b (8 columns): PTX's mma.m16n8k16, and m16n8k8 for tf32.
#define DVS2S_MMA(NAME, OPCODE)                                                            \
  DVS2S_DEVICE void NAME(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {  \
    asm volatile(OPCODE " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                          \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));      \
  }
DVS2S_MMA(multiply_bf16, "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32")
DVS2S_MMA(multiply_f16, "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32")
DVS2S_MMA(multiply_tf32, "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32")
#undef DVS2S_MMA

}  // namespace dvs2s::gpu

#endif
