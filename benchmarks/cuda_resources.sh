#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# cuda_resources.sh [ARCHITECTURE...]: compiles every tile kernel of the convolution family and of attention (by default
# for sm_80 and sm_90a) and prints each one's registers, and how many blocks of it a multiprocessor holds. Fails where a
# kernel spills registers or keeps arrays in memory, or where products of warpgroups are serialised. Needs nvcc, no GPU;
# 77: no nvcc.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null) || {
  echo "skipped: there is no nvcc on PATH"
  exit 77
}
architectures=("$@")
[[ ${#architectures[@]} -gt 0 ]] || architectures=(sm_80 sm_90a)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failed=0
for architecture in "${architectures[@]}"; do
  "$nvcc" -std=c++20 --expt-relaxed-constexpr "-arch=$architecture" -Xptxas -v "-I$root/include" \
    -c "$root/benchmarks/cuda_resources.cu" -o "$folder/kernels.o" \
    > "$folder/log" 2>&1 || {
    cat "$folder/log"
    exit 1
  }
  python3 "$root/benchmarks/cuda_resources.py" "$architecture" < "$folder/log" || failed=1
done
exit $failed
