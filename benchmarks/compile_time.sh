#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What one file that uses a large network costs to compile with g++ -O2 (or CXX, CXXFLAGS): U-Net w64 at 512x512 and
# U-Net++ at 256x256, trained and inferred, and TransUNet R50-ViT-B/16 at 224x224, inferred and trained in a file each.
# Prints seconds, peak memory of the compiler and size of the object, and fails where one is over its bar.
set -euo pipefail
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
source "$root/cmake/bootstrap.sh"
[[ ${1:-} != --help && ${1:-} != -h ]] || { sed -n '3,5s/^# //p' "${BASH_SOURCE[0]}"; exit 0; }
ulna_install "${ulna_core_packages[@]}" time

compiler=${CXX:-g++}
flags=(${CXXFLAGS:--O2} -std=c++20 "-I$root/include" $(pkg-config --cflags eigen3 xtensor))
[[ $("$compiler" --version) != *clang* ]] || flags+=(-fconstexpr-steps=200000000)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$compiler" --version | head -n 1

# measure FILE SECONDS GIGABYTES MEGABYTES: the bars of time, memory and object
measure() {
  env time -f '%e %M' -o "$folder/cost" "$compiler" "${flags[@]}" -c "$root/benchmarks/$1" -o "$folder/object.o"
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
measure compile_time.cpp 15 1 2 || status=1
measure compile_time_unet_plus_plus.cpp 20 2 2 || status=1
measure trans_unet_inference.cpp 30 2 2 || status=1
measure trans_unet_training.cpp 60 2 4 || status=1
exit $status
