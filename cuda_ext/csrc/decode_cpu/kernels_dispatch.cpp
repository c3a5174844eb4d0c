// Which table serves this processor; DVS2S_CPU_ISA asks for a lower one, as for the operators.
#include "step_kernels.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace dvs2s::engine {
namespace {

StepKernels choose() {
  const char* asked = std::getenv("DVS2S_CPU_ISA");
  const std::string isa = asked == nullptr ? "" : asked;
  if (!(isa.empty() || isa == "avx512" || isa == "avx2" || isa == "portable")) {
    throw std::invalid_argument("DVS2S_CPU_ISA must be avx512, avx2 or portable, got " + isa);
  }
  if (isa == "portable") return kStepPortable;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq");
  if ((isa == "avx512" && !avx512) || (isa == "avx2" && !avx2)) {
    throw std::invalid_argument("DVS2S_CPU_ISA=" + isa + ": this processor lacks it");
  }
  if (!avx2) return kStepPortable;
  const bool all = avx512 && __builtin_cpu_supports("avx512bf16") &&
      __builtin_cpu_supports("avx512vnni");
  if (!avx512 || isa == "avx2") return kStepAvx2;
  StepKernels best = kStepAvx512;
  if (!all) {  // whole tables differ in the columns that they take: only both or none
    best = kStepAvx2;
  }
  return best;
#else
  if (!isa.empty()) throw std::invalid_argument("DVS2S_CPU_ISA=" + isa + ": this processor lacks it");
  return kStepPortable;
#endif
}

}  // namespace

const StepKernels& step_kernels() {
  static const StepKernels chosen = choose();
  return chosen;
}

}  // namespace dvs2s::engine
