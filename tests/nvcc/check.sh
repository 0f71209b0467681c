#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# check.sh INCLUDES CASE.cu: the file must pass through nvcc.
set -u
includes=$1 source=$2
nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null)
if [[ -z $nvcc ]]; then
  echo "skipped: there is no nvcc on PATH"
  exit 77
fi
object=$(mktemp --suffix=.o)
trap 'rm -f "$object"' EXIT
"$nvcc" --version | tail -n 2
"$nvcc" -std=c++20 --expt-relaxed-constexpr -diag-suppress=20012 -arch=sm_80 -c --options-file "$includes" "$source" -o "$object"
