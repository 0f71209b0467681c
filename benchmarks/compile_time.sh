#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What one file that trains and infers U-Net w64 at 512x512 costs to compile with g++ -O2 (or CXX, CXXFLAGS).
# Prints seconds, peak memory of the compiler and size of the object, and fails where one is over its bar.
set -euo pipefail
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
source "$root/cmake/bootstrap.sh"
[[ ${1:-} != --help && ${1:-} != -h ]] || { sed -n '3,4s/^# //p' "${BASH_SOURCE[0]}"; exit 0; }
ulna_install "${ulna_core_packages[@]}" time

compiler=${CXX:-g++}
flags=(${CXXFLAGS:--O2} -std=c++20 "-I$root/include" $(pkg-config --cflags eigen3 xtensor))
[[ $("$compiler" --version) != *clang* ]] || flags+=(-fconstexpr-steps=200000000)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

env time -f '%e %M' -o "$folder/cost" "$compiler" "${flags[@]}" -c "$root/benchmarks/compile_time.cpp" \
  -o "$folder/object.o"
read -r seconds kilobytes <"$folder/cost"
bytes=$(stat -c %s "$folder/object.o")

"$compiler" --version | head -n 1
awk -v seconds="$seconds" -v gigabytes="$(awk "BEGIN {print $kilobytes / 1048576}")" \
  -v megabytes="$(awk "BEGIN {print $bytes / 1048576}")" '
  function row(what, value, bar, unit) {
    printf "%-12s %8.2f %-3s  bar %5.1f  %s\n", what, value, unit, bar, value <= bar ? "met" : "OVER"
    over += value > bar
  }
  BEGIN {
    row("time", seconds, 15, "s")
    row("peak memory", gigabytes, 1, "GB")
    row("object", megabytes, 2, "MB")
    exit over > 0
  }'
