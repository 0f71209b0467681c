#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# check.sh INCLUDES WORK_DIR COMPILER: compiles the device's side for every architecture, as many files at a time as
# there are processors; refuses kernels that spill registers, says how many blocks of 256 threads fit a multiprocessor,
# and runs the tests: on a device where there is one.
#   ULNA_CUDA_ARCHITECTURES="80 90a"   the architectures
#   ULNA_CUDA_GOLDEN=1                 also the golden files, which only a device can check: five files that take nvcc
#                                      a minute each
#   ULNA_CUDA_SANITIZE=memcheck        also under compute-sanitizer: memcheck, racecheck, ...
#   ULNA_CUDA_JSON=FILE                what was done, and how long it took, goes there
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
rm -f "$work/tests.log"
failed=0
parts=() # "name|seconds|status" of each
# part NAME COMMAND...: does one and says how long it took. The others go on when it fails.
part() {
  local name=$1 began=$SECONDS status
  shift
  echo "== $name"
  set +e
  "$@" 2>&1 | tee "$work/${name// /_}.log"
  status=${PIPESTATUS[0]}
  set -e
  [[ $status -ne 124 ]] || echo "$name: stopped, it took too long"
  [[ $status -eq 0 ]] || failed=1
  parts+=("$name|$((SECONDS - began))|$status")
  echo "== $name: $((SECONDS - began)) s, status $status"
}

sources=("$here"/device_*.cu "$here/check_device.cpp" "$here/../main.cpp")
if [[ -n ${ULNA_CUDA_GOLDEN:-} ]]; then # first, since they take longest
  sources=("$here"/golden_*.cu "${sources[@]}" "$here/check_golden.cpp")
fi
compile() {
  local source objects=()
  printf '%s\0' "${sources[@]}" | xargs -0 -n 1 -P "$jobs" bash "${BASH_SOURCE[0]}" "$includes" "$work" "$compiler" ||
    return 1
  for source in "${sources[@]}"; do objects+=("$(object_of "$source")"); done
  "$nvcc" "${architectures[@]}" "${objects[@]}" -o "$work/check_device"
}
# The parts, the device and what doctest says of each case, as JSON.
summary() {
  local separator="" name seconds status
  quoted() { sed 's/[\\"]/\\&/g' <<<"$1"; }
  echo "{"
  echo " \"time\": \"$(date -u +%FT%TZ)\","
  echo " \"ulna\": \"$(git -C "$here" describe --always --dirty 2>/dev/null)\","
  echo " \"device\": \"$(quoted "$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null |
    head -n 1)")\","
  echo " \"compiler\": \"$("$nvcc" --version | sed -n 's/.*release \(.*\)/\1/p')\","
  echo " \"architectures\": \"${ULNA_CUDA_ARCHITECTURES:-80 90a}\","
  echo " \"parts\": ["
  for one in "${parts[@]}"; do
    IFS='|' read -r name seconds status <<<"$one"
    printf '%s  {"name": "%s", "seconds": %s, "status": %s}' "$separator" "$name" "$seconds" "$status"
    separator=$',\n'
  done
  printf '\n ],\n "cases": ['
  separator=$'\n'
  while IFS='|' read -r seconds name; do
    printf '%s  {"name": "%s", "seconds": %s}' "$separator" "$(quoted "$name")" "$seconds"
    separator=$',\n'
  done < <(sed -n 's/^\([0-9.]*\) s: \(.*\)/\1|\2/p' "$work/tests.log" 2>/dev/null)
  printf '\n ],\n "doctest": "%s"\n}\n' \
    "$(quoted "$(sed -n 's/^\[doctest\] \(test cases: .*\)/\1/p' "$work/tests.log" 2>/dev/null)")"
}

jobs=$(ulna_jobs 4)
echo "${#sources[@]} files, $jobs at a time"
part compile compile
if [[ $failed -eq 0 ]]; then
  part tests timeout 300 "$work/check_device" --duration=true
  for tool in ${ULNA_CUDA_SANITIZE:-}; do
    part "$tool" timeout 120 compute-sanitizer --tool "$tool" --error-exitcode 1 "$work/check_device" \
      --test-case="training and prediction on the device*,wide convolutions on the device*"
  done
fi
if [[ -n ${ULNA_CUDA_JSON:-} ]]; then
  summary >"$ULNA_CUDA_JSON.part"
  mv "$ULNA_CUDA_JSON.part" "$ULNA_CUDA_JSON"
  echo "== $ULNA_CUDA_JSON"
fi
echo "== after $SECONDS s: ${parts[*]}"
exit "$failed"
