#!/usr/bin/env bash
# The C++ kernels under the address and undefined-behaviour sanitizers, over the operators' tests.
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
# Python itself leaks at exit, by design; the sanitizers' runtime must come first
export LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libubsan.so)"
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export PYTHONPATH="$folder/site" OMP_NUM_THREADS=2
kinds="softmax or topk or ties or neighbours or precision or int8 or extreme or nan or select or compact or refuses"
for isa in avx512 avx2 portable; do
  if ! DVS2S_CPU_ISA=$isa "$python" -c 'from dvs2s.ops import extension; print(extension.describe())' \
      > "$folder/isa.log" 2>&1; then
    echo "sanitizers: $isa left out, this processor lacks it"
    continue
  fi
  DVS2S_CPU_ISA=$isa DVS2S_INNER=1 "$python" -m pytest -q -x -p no:cacheprovider \
    tests/ops/test_sparse.py tests/ops/test_select.py -k "($kinds) and not other_kernels"
done
