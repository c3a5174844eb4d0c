#!/usr/bin/env bash
# The C++ kernels under the address and undefined-behaviour sanitizers: the operators over their
# tests, the decode engine over a check of its own.
# A build of its own, in a folder of its own: the one that is installed stays as it is.
# Usage: cuda_ext/sanitize.sh PYTHON
set -euo pipefail
python=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cp -r cuda_ext "$folder/source"
DVS2S_SANITIZE=1 "$python" -m pip install --quiet --no-build-isolation --no-deps \
  --target "$folder/site" "$folder/source"
# the decode engine without Python
include=$("$python" -c 'import pathlib, torch; print(pathlib.Path(torch.__file__).parent)')
for source in cuda_ext/csrc/cpu/{avx512,avx2,portable,dispatch}.cpp cuda_ext/csrc/decode_cpu/*.cpp \
  cuda_ext/tests/engine_check.cpp; do
  case $source in */binding.cpp) ;; *) echo "$source" ;; esac
done | xargs -P 2 -I{} sh -c 'g++ -std=c++20 -O1 -g -w -pthread -fsanitize=address,undefined \
  -DTORCH_TARGET_VERSION=0x020a000000000000 "-I$1/include" -c "$2" -o "$3/$(basename "$2").o"' \
  - "$include" {} "$folder"
g++ -pthread -fsanitize=address,undefined "$folder"/*.o "-L$include/lib" -ltorch_cpu \
  "-Wl,-rpath,$include/lib" -o "$folder/engine_check"
for isa in avx512 avx2 portable; do
  DVS2S_CPU_ISA=$isa UBSAN_OPTIONS=halt_on_error=1 "$folder/engine_check" \
    || { DVS2S_CPU_ISA=$isa "$folder/engine_check" 2>&1 | grep -q "lacks it" \
         && echo "sanitizers: $isa left out, this processor lacks it"; }
done

# Python itself leaks at exit, by design; the sanitizers' runtime must come first
export LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libubsan.so)"
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export PYTHONPATH="$folder/site" OMP_NUM_THREADS=2
kinds="softmax or topk or best or ties or neighbours or precision or int8 or extreme or nan or select or compact or refuses"
for isa in avx512 avx2 portable; do
  if ! DVS2S_CPU_ISA=$isa "$python" -c 'from dvs2s.ops import extension; print(extension.describe())' \
      > "$folder/isa.log" 2>&1; then
    echo "sanitizers: $isa left out, this processor lacks it"
    continue
  fi
  DVS2S_CPU_ISA=$isa DVS2S_INNER=1 "$python" -m pytest -q -x -p no:cacheprovider \
    tests/ops/test_sparse.py tests/ops/test_select.py -k "($kinds) and not other_kernels"
done
