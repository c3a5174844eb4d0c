// Which table serves this processor.
#include "kernels.h"

#include <cstdlib>
#include <cstring>
#include <string>

#include <torch/headeronly/util/Exception.h>

namespace dvs2s {
namespace {

Kernels choose() {
  const char* asked = std::getenv("DVS2S_CPU_ISA");
  const std::string isa = asked == nullptr ? "" : asked;
  STD_TORCH_CHECK(
      isa.empty() || isa == "avx512" || isa == "avx2" || isa == "portable",
      "DVS2S_CPU_ISA must be avx512, avx2 or portable, got ", isa);
  if (isa == "portable") return kPortable;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("f16c");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq");
  STD_TORCH_CHECK(
      !(isa == "avx512" && !avx512) && !(isa == "avx2" && !avx2), "DVS2S_CPU_ISA=", isa,
      ": this processor lacks it");
  if (!avx2) return kPortable;
  if (!avx512 || isa == "avx2") return kAvx2;
  Kernels best = kAvx512;
  if (!__builtin_cpu_supports("avx512bf16")) {
    best.bf16 = kAvx2.bf16;
    best.peak_bf16 = kAvx2.peak_bf16;
    best.isa_bf16 = kAvx2.isa_bf16;
  }
  if (!__builtin_cpu_supports("avx512vnni")) {
    best.int8 = kAvx2.int8;
    best.peak_int8 = kAvx2.peak_int8;
    best.isa_int8 = kAvx2.isa_int8;
  }
  return best;
#else
  STD_TORCH_CHECK(isa.empty(), "DVS2S_CPU_ISA=", isa, ": this processor lacks it");
  return kPortable;
#endif
}

}  // namespace

const Kernels& kernels() {
  static const Kernels chosen = choose();
  return chosen;
}

}  // namespace dvs2s
