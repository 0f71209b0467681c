#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# check.sh INCLUDES WORK_DIR COMPILER: compiles the device's side for every architecture, refuses kernels that spill
# registers, says how many blocks of 256 threads fit a multiprocessor, and runs the tests: on a device where there is one.
#   ULNA_CUDA_ARCHITECTURES="80 90a"   the architectures
#   ULNA_CUDA_SANITIZE=memcheck        also under compute-sanitizer: memcheck, racecheck, ...
set -euo pipefail
includes=$1 work=$2 compiler=$3
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null || true)
if [[ -z $nvcc ]]; then
  echo "skipped: there is no nvcc on PATH"
  exit 77
fi
mkdir -p "$work"
architectures=()
for architecture in ${ULNA_CUDA_ARCHITECTURES:-80 90a}; do
  architectures+=(-gencode "arch=compute_$architecture,code=sm_$architecture")
done

objects=()
for source in "$here"/*.cu; do
  object=$work/$(basename "$source" .cu).o
  log=$object.log
  echo "== $(basename "$source")"
  "$nvcc" -std=c++20 -O3 --expt-relaxed-constexpr "${architectures[@]}" -Xptxas -v -c --options-file "$includes" "$source" \
    -o "$object" >"$log" 2>&1 || { grep -v '^ptxas' "$log"; exit 1; }
  objects+=("$object")
  # Of each kernel: name, architecture, registers, spilled bytes, blocks of 256 threads that its registers leave room for.
  awk '/Compiling entry function/ { split($0, part, "\047"); architecture = part[4] }
       /Function properties for/ { name = $NF }
       /bytes spill stores/ { spilled = $5 + $9 }
       /Used [0-9]+ registers/ {
         match($0, /Used [0-9]+/); registers = substr($0, RSTART + 5, RLENGTH - 5)
         blocks = int(65536 / (int((registers + 7) / 8) * 8 * 256))
         print name, architecture, registers, spilled, (blocks > 8 ? 8 : blocks)
       }' "$log" | sort -u >"$object.kernels"
  awk '{ count[$2]++; if ($3 > most[$2]) most[$2] = $3; if (!($2 in least) || $5 < least[$2]) least[$2] = $5 }
       END { for (a in count) printf "%s: %d kernels, at most %d registers, at least %d blocks of 256 threads\n",
                              a, count[a], most[a], least[a] }' "$object.kernels"
  if awk '$4 > 0 { print "spills " $4 " bytes on " $2 ": " $1; found = 1 } END { exit !found }' "$object.kernels" |
    { c++filt || cat; } | grep .; then
    echo "kernels must not spill registers"
    exit 1
  fi
done

echo "== tests"
"$compiler" -std=c++20 -O1 "@$includes" -c "$here/check_device.cpp" -o "$work/check_device.o"
"$compiler" -std=c++20 -O1 "@$includes" -c "$here/../main.cpp" -o "$work/main.o"
"$nvcc" "${architectures[@]}" "$work/check_device.o" "$work/main.o" "${objects[@]}" -o "$work/check_device"
"$work/check_device"
for tool in ${ULNA_CUDA_SANITIZE:-}; do
  echo "== compute-sanitizer $tool"
  compute-sanitizer --tool "$tool" --error-exitcode 1 "$work/check_device" \
    --test-case="training and prediction on the device follow the reference"
done
