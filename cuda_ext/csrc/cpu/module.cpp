// What Python asks of the library: which instruction sets serve it.
#include <string>
#include <tuple>

#include <torch/csrc/stable/library.h>

#include "kernels.h"

namespace dvs2s {
namespace {

// "float32 bfloat16 int8" instruction sets of this processor's kernels.
std::string cpu_kernels() {
  const Kernels& k = kernels();
  return std::string(k.isa) + " " + k.isa_bf16 + " " + k.isa_int8;
}

}  // namespace
}  // namespace dvs2s

STABLE_TORCH_LIBRARY_FRAGMENT(dvs2s, m) { m.def("cpu_kernels() -> str"); }

STABLE_TORCH_LIBRARY_IMPL(dvs2s, CompositeExplicitAutograd, m) {
  m.impl("cpu_kernels", TORCH_BOX(&dvs2s::cpu_kernels));
}
