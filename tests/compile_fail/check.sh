#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# check.sh COMPILER INCLUDES CASE.cpp
#
# A case begins with comments that say what the compiler must print when it refuses the file:
#     // expect: "UNet/encoder[3]/pool" "125" "multiple of 16"
# The file must not compile, and every expected text must stand in the first 15 lines of the output: a user reads no
# further. With ULNA_POSITIVE_CONTROL defined the case selects its sound variant, which must compile; otherwise the case
# could fail for a reason that has nothing to do with what it is about.
set -u
compiler=$1 includes=$2 source=$3
lines=15

if ! command -v "$compiler" >/dev/null; then
  echo "skipped: $compiler is not installed"
  exit 77
fi

compile() {
  local limit=()
  [[ $compiler == clang* ]] && limit=(-fconstexpr-steps=200000000)
  LC_ALL=C "$compiler" -std=c++20 -fsyntax-only -Wall -Wextra "${limit[@]}" "@$includes" "$@" "$source" 2>&1
}

expected=$(sed -n 's|^// expect: *||p' "$source" | grep -o '"[^"]*"')
if [[ -z $expected ]]; then
  echo "$source: no '// expect: \"text\"' line"
  exit 1
fi

if ! control=$(compile -DULNA_POSITIVE_CONTROL); then
  printf '%s\n' "$source: the positive control does not compile with $compiler:" "$(head -n 40 <<<"$control")"
  exit 1
fi

if output=$(compile); then
  echo "$source compiles with $compiler, and must not"
  exit 1
fi

# clang prints a compile-time string as a list of characters: 'U', 'N', 'e', 't'.
head=$(head -n $lines <<<"$output" | sed "s/', '//g")
status=0
while IFS= read -r text; do
  text=${text:1:-1}
  if ! grep -qF -- "$text" <<<"$head"; then
    echo "missing from the first $lines lines of $compiler: $text"
    status=1
  fi
done <<<"$expected"
printf '%s\n' "--- first $lines lines of $compiler ---" "$head"
exit $status
