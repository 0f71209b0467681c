#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What one file that uses a large network costs to compile with g++ -O2 (or CXX, CXXFLAGS): U-Net w64 at 512x512 and
# U-Net++ at 256x256, trained and inferred, and TransUNet R50-ViT-B/16 at 224x224, inferred and trained in a file each.
#   compile_time.sh --cuda [ARCHITECTURE...]   instead: U-Net w64 at 512x512 trained and inferred on a device, by
#                                              nvcc -O3, for one architecture at a time (sm_80, then sm_90a)
# Prints seconds, peak memory of the compiler and size of the object, and fails where one is over its bar.
set -euo pipefail
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
source "$root/cmake/bootstrap.sh"
[[ ${1:-} != --help && ${1:-} != -h ]] || { sed -n '3,8s/^# //p' "${BASH_SOURCE[0]}"; exit 0; }
ulna_install "${ulna_core_packages[@]}" time

flags=(-std=c++20 "-I$root/include" $(pkg-config --cflags eigen3 xtensor))
architectures=()
if [[ ${1:-} == --cuda ]]; then
  shift
  architectures=("$@")
  [[ $# -gt 0 ]] || architectures=(sm_80 sm_90a)
  compiler=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null) || ulna_fail "there is no nvcc on PATH"
  flags+=(-O3 --expt-relaxed-constexpr)
  "$compiler" --version | tail -n 2
else
  compiler=${CXX:-g++}
  flags+=(${CXXFLAGS:--O2})
  [[ $("$compiler" --version) != *clang* ]] || flags+=(-fconstexpr-steps=200000000)
  "$compiler" --version | head -n 1
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# measure FILE SECONDS GIGABYTES MEGABYTES FLAG...: the bars of time, memory and object
measure() {
  env time -f '%e %M' -o "$folder/cost" "$compiler" "${flags[@]}" "${@:5}" -c "$root/benchmarks/$1" \
    -o "$folder/object.o"
  read -r seconds kilobytes <"$folder/cost"
  awk -v file="$1" -v seconds="$seconds" -v kilobytes="$kilobytes" -v bytes="$(stat -c %s "$folder/object.o")" \
    -v time_bar="$2" -v memory_bar="$3" -v object_bar="$4" '
    function row(what, value, bar, unit) {
      printf "  %-12s %8.2f %-3s  bar %5.1f  %s\n", what, value, unit, bar, value <= bar ? "met" : "OVER"
      over += value > bar
    }
    BEGIN {
      print file
      row("time", seconds, time_bar, "s")
      row("peak memory", kilobytes / 1048576, memory_bar, "GB")
      row("object", bytes / 1048576, object_bar, "MB")
      exit over > 0
    }'
}

status=0
if [[ ${#architectures[@]} -gt 0 ]]; then
  for architecture in "${architectures[@]}"; do
    echo "$architecture"
    measure compile_time_cuda.cu 90 3 4 "-arch=$architecture" || status=1
  done
  exit $status
fi
measure compile_time.cpp 15 1 2 || status=1
measure compile_time_unet_plus_plus.cpp 20 2 2 || status=1
measure trans_unet_inference.cpp 30 2 2 || status=1
measure trans_unet_training.cpp 60 2 4 || status=1
exit $status
