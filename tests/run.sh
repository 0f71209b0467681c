#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Every test of Ulna. Installs what is missing, configures, builds, and runs; non-zero if anything fails.
#   tests/run.sh                 everything
#   tests/run.sh --cuda [JSON]   what a CUDA device computes, with the sanitizers of the toolkit: within 8 minutes. What was
#                                done, and how long it took, is written to the file (default: build/tests-cuda/summary.json)
#   BUILD_DIR=... tests/run.sh   build there instead of in build/tests
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
source "$root/cmake/bootstrap.sh"
build=${BUILD_DIR:-$root/build/tests}
# Rooms that are built again with clang, under the address and undefined-behaviour sanitizers: those that read untrusted
# bytes or do their own arithmetic on indices.
sanitized_rooms="backend;backend/cuda;classic;data;graph;metric;predict;report;weights"

# check_cuda JSON: only the device: every op against the reference, whole programs, golden files, the same bits run after
# run, memcheck and racecheck.
check_cuda() {
  local eigen json
  ulna_require_cuda
  ulna_say "Devices: $(nvidia-smi --query-gpu=name,compute_cap,memory.total --format=csv,noheader | tr '\n' ';')"
  mkdir -p "$build-cuda"
  json=$(realpath -m -- "${1:-$build-cuda/summary.json}")
  eigen=$(pkg-config --cflags-only-I eigen3 2>/dev/null | sed 's/^-I//; s/ *$//')
  printf -- '-isystem "%s"\n' "$root/include" "${eigen:-/usr/include/eigen3}" >"$build-cuda/includes.rsp"
  ULNA_CUDA_ARCHITECTURES=$ulna_cuda_architectures ULNA_CUDA_GOLDEN=1 ULNA_CUDA_JSON=$json \
    ULNA_CUDA_SANITIZE=${ULNA_CUDA_SANITIZE-memcheck racecheck} \
    bash "$root/tests/cuda/check.sh" "$build-cuda/includes.rsp" "$build-cuda" g++
}
if [[ ${1:-} == --cuda ]]; then
  check_cuda "${2:-}"
  exit
fi

ulna_install "${ulna_core_packages[@]}" "${ulna_component_packages[@]}" "${ulna_example_packages[@]}" \
  "${ulna_test_packages[@]}" "${ulna_benchmark_packages[@]}"
# The fuzzer's runtime, in the version that clang has.
ulna_install "libclang-rt-$(clang++ -dumpversion | cut -d. -f1)-dev"
jobs=$(ulna_jobs)
closing=()

# check NAME FOLDER CMAKE_ARGUMENT...: configures, builds and tests one build tree. The closing line of ctest is kept.
check() {
  local name=$1 folder=$2 log status=0
  shift 2
  log=$(mktemp)
  ulna_say "$name: configure"
  cmake -S "$root" -B "$folder" -G Ninja "$@" || return 1
  ulna_say "$name: build with $jobs jobs"
  cmake --build "$folder" --parallel "$jobs" -- -k 0 || status=1
  ulna_say "$name: run"
  ctest --test-dir "$folder" --output-on-failure --no-tests=error --parallel "$jobs" 2>&1 | tee "$log" || status=1
  closing+=("$name: $(grep -E '^[0-9]+% tests passed' "$log" || echo 'ctest did not finish')")
  [[ $status -eq 0 ]] || closing+=("$name: FAILED")
  rm -f "$log"
  return $status
}

failed=0
check "sanitized" "$build-sanitized" -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_BUILD_TYPE=Debug \
  "-DCMAKE_CXX_FLAGS_DEBUG=-g1 -O1" -DULNA_SANITIZE=address,undefined "-DULNA_TEST_ROOMS=$sanitized_rooms" \
  -DULNA_BUILD_EXAMPLES=OFF -DULNA_BUILD_BENCHMARKS=OFF || failed=1
check "tests" "$build" -DCMAKE_BUILD_TYPE=Release || failed=1

ulna_say "Summary, after $((SECONDS / 60)) min $((SECONDS % 60)) s"
printf '%s\n' "${closing[@]}"
exit $failed
