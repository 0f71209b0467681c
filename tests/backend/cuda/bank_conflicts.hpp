// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <map>
#include <set>

namespace ulna::cuda {

/// How often the busiest bank is asked by threads [first, first + count) that each touch `bytes` bytes at
/// offset_of(thread); the same address counts once. Wide accesses go in groups of 128 bytes.
template <class F>
int conflicts(int first, int count, int bytes, const F& offset_of) {
  int worst = 0;
  const int group = 128 / bytes < count ? 128 / bytes : count;
  for (int g = first; g < first + count; g += group) {
    std::map<int, std::set<int>> asked;
    for (int t = g; t < g + group; ++t)
      for (int b = 0; b < bytes; b += 4) asked[(offset_of(t) + b) / 4 % 32].insert((offset_of(t) + b) / 4);
    for (const auto& [bank, words] : asked) worst = std::max(worst, static_cast<int>(words.size()));
  }
  return worst;
}

}  // namespace ulna::cuda
