#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# check.sh INCLUDES FUZZER.cpp [SECONDS]: runs a libFuzzer target under the sanitizers, from an empty corpus.
set -euo pipefail
includes=$1 source=$2 seconds=${3:-15}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if ! command -v clang++ >/dev/null ||
  ! echo 'extern "C" int LLVMFuzzerTestOneInput(const char*, unsigned long) { return 0; }' |
  clang++ -x c++ - -fsanitize=fuzzer,address,undefined -o "$folder/probe" 2>/dev/null; then
  echo "skipped: there is no clang++ with libFuzzer (Debian, Ubuntu: clang and libclang-rt-<version>-dev)"
  exit 77
fi
clang++ -std=c++20 -O1 -g1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all "@$includes" "$source" \
  -o "$folder/fuzzer"
cd "$folder"
./fuzzer -max_total_time="$seconds" -seed=1 -rss_limit_mb=2048 -timeout=10 2>&1 | tail -n 60
