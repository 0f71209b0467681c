#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# check.sh INCLUDES WORK_DIR COMPILER: compiles the device's side for every architecture, as many files at a time as
# there are processors; refuses kernels that spill registers, says how many blocks of 256 threads fit a multiprocessor,
# and runs the tests: on a device where there is one.
#   ULNA_CUDA_ARCHITECTURES="80 90a"   the architectures
#   ULNA_CUDA_GOLDEN=1                 also the golden files, which only a device can check: five files that take nvcc
#                                      a minute each
#   ULNA_CUDA_SANITIZE=memcheck        also under compute-sanitizer: memcheck, racecheck, ...
# check.sh INCLUDES WORK_DIR COMPILER SOURCE: compiles that file alone.
set -euo pipefail
includes=$1 work=$2 compiler=$3
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
source "$here/../../cmake/bootstrap.sh"
nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null || true)
if [[ -z $nvcc ]]; then
  echo "skipped: there is no nvcc on PATH"
  exit 77
fi
architectures=()
for architecture in ${ULNA_CUDA_ARCHITECTURES:-80 90a}; do
  architectures+=(-gencode "arch=compute_$architecture,code=sm_$architecture")
done

# The object of a source: of check_x.cpp another than of x.cu.
object_of() { echo "$work/$(basename "$1").o"; }

compile_host() {
  "$compiler" -std=c++20 -O1 "@$includes" "-DULNA_GOLDEN_DIRECTORY=\"$here/../golden\"" -c "$1" -o "$(object_of "$1")"
}

compile_device() {
  local object log
  object=$(object_of "$1")
  log=$object.log
  "$nvcc" -std=c++20 -O3 --expt-relaxed-constexpr -diag-suppress=20012 "${architectures[@]}" -Xptxas -v -c \
    --options-file "$includes" "$1" -o "$object" >"$log" 2>&1 || { grep -v '^ptxas' "$log"; exit 1; }
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
       END { for (a in count) printf "   %s: %d kernels, at most %d registers, at least %d blocks of 256 threads\n",
                              a, count[a], most[a], least[a] }' "$object.kernels"
  if awk '$4 > 0 { print "spills " $4 " bytes on " $2 ": " $1; found = 1 } END { exit !found }' "$object.kernels" |
    { c++filt || cat; } | grep .; then
    echo "kernels must not spill registers"
    exit 1
  fi
}

if [[ $# -gt 3 ]]; then
  said=$(case $4 in *.cu) compile_device "$4" ;; *) compile_host "$4" ;; esac) || { echo "$4: $said"; exit 1; }
  printf '%s: %s s\n%s' "$(basename "$4")" "$SECONDS" "${said:+$said$'\n'}" # at once: others speak too
  exit
fi

mkdir -p "$work"
sources=("$here"/device_*.cu "$here/check_device.cpp" "$here/../main.cpp")
if [[ -n ${ULNA_CUDA_GOLDEN:-} ]]; then # first, since they take longest
  sources=("$here"/golden_*.cu "${sources[@]}" "$here/check_golden.cpp")
fi
jobs=$(ulna_jobs 4)
echo "== compile ${#sources[@]} files with $jobs jobs"
printf '%s\0' "${sources[@]}" | xargs -0 -n 1 -P "$jobs" bash "${BASH_SOURCE[0]}" "$includes" "$work" "$compiler"
objects=()
for source in "${sources[@]}"; do objects+=("$(object_of "$source")"); done
"$nvcc" "${architectures[@]}" "${objects[@]}" -o "$work/check_device"
echo "== compiled after $SECONDS s"

"$work/check_device"
echo "== tested after $SECONDS s"
for tool in ${ULNA_CUDA_SANITIZE:-}; do
  echo "== compute-sanitizer $tool"
  compute-sanitizer --tool "$tool" --error-exitcode 1 "$work/check_device" \
    --test-case="training and prediction on the device follow the reference"
  echo "== after $SECONDS s"
done
