// SPDX-License-Identifier: MIT
// Where buffers lie in an arena: two of them share addresses only when no node needs both. Best fit in the order of
// execution, or the largest first, whichever takes less.
#pragma once

#include <cstdint>

#include "ulna/graph/graph.hpp"

namespace ulna {

/// Elements that buffers are rounded up to: 64 bytes of float.
inline constexpr std::int64_t alignment_elements = 16;

constexpr std::int64_t aligned(std::int64_t n) {
  return (n + alignment_elements - 1) / alignment_elements * alignment_elements;
}

namespace detail {

/// The free addresses of an arena without end, as gaps in rising order.
class FreeList {
 public:
  constexpr FreeList() { gaps_.push_back({0, std::int64_t{1} << 62}); }

  /// The beginning of the smallest gap that holds `size`, which is then taken.
  constexpr std::int64_t take(std::int64_t size) {
    int best = gaps_.size() - 1;
    for (int k = 0; k + 1 < gaps_.size(); ++k)
      if (gaps_[k].length() >= size && gaps_[k].length() < gaps_[best].length()) best = k;
    const std::int64_t begin = gaps_[best].begin;
    gaps_[best].begin += size;
    if (gaps_[best].length() == 0) erase(best);
    return begin;
  }

  constexpr void give_back(std::int64_t begin, std::int64_t end) {
    int k = 0;
    while (gaps_[k].end < begin) ++k;
    if (gaps_[k].end == begin) {
      gaps_[k].end = end;
      if (gaps_[k + 1].begin == end) {
        gaps_[k].end = gaps_[k + 1].end;
        erase(k + 1);
      }
    } else if (gaps_[k].begin == end) {
      gaps_[k].begin = begin;
    } else {
      gaps_.push_back({});
      for (int i = gaps_.size() - 1; i > k; --i) gaps_[i] = gaps_[i - 1];
      gaps_[k] = {begin, end};
    }
  }

 private:
  struct Gap {
    std::int64_t begin = 0;
    std::int64_t end = 0;
    constexpr std::int64_t length() const { return end - begin; }
  };

  constexpr void erase(int k) {
    for (int i = k; i + 1 < gaps_.size(); ++i) gaps_[i] = gaps_[i + 1];
    gaps_.pop_back();
  }

  FixedVector<Gap, node_capacity> gaps_{};
};

/// A part of an arena, and the first and the last node that need it.
struct ArenaBuffer {
  int id = -1;
  std::int64_t size = 0;
  int begin = 0;
  int end = 0;
};

/// The most that is needed at once: no packing takes less.
constexpr std::int64_t least_height(const FixedVector<ArenaBuffer, node_capacity>& buffers, int nodes) {
  FixedVector<std::int64_t, node_capacity> change{};
  for (int i = 0; i < nodes; ++i) change.push_back(0);
  for (const ArenaBuffer& b : buffers) {
    change[b.begin] += b.size;
    if (b.end + 1 < nodes) change[b.end + 1] -= b.size;
  }
  std::int64_t most = 0;
  std::int64_t now = 0;
  for (const std::int64_t c : change) {
    now += c;
    if (now > most) most = now;
  }
  return most;
}

/// Gives buffers, which are listed in the order of their first nodes, addresses.
class Packer {
 public:
  constexpr Packer(const FixedVector<ArenaBuffer, node_capacity>& buffers, int nodes) : b_(buffers), nodes_(nodes) {
    for (int k = 0; k < b_.size(); ++k) offset_.push_back(0);
  }

  constexpr std::int64_t offset(int k) const { return offset_[k]; }
  constexpr std::int64_t height() const { return height_; }

  /// Each buffer in turn goes to the best gap among those that live then.
  constexpr void pack_in_order() {
    FixedVector<int, node_capacity> first_dying{};  // buffers that a node is the last to need, as lists
    FixedVector<int, node_capacity> next_dying{};
    for (int i = 0; i < nodes_; ++i) first_dying.push_back(-1);
    FreeList free;
    int node = 0;
    height_ = 0;
    for (int k = 0; k < b_.size(); ++k) {
      for (; node < b_[k].begin; ++node)
        for (int dead = first_dying[node]; dead >= 0; dead = next_dying[dead])
          free.give_back(offset_[dead], offset_[dead] + b_[dead].size);
      offset_[k] = free.take(b_[k].size);
      if (offset_[k] + b_[k].size > height_) height_ = offset_[k] + b_[k].size;
      next_dying.push_back(-1);
      if (b_[k].end == nodes_) continue;
      next_dying[k] = first_dying[b_[k].end];
      first_dying[b_[k].end] = k;
    }
  }

  /// The largest buffers first, each as low as those that are needed at the same time let it lie: kept where it takes
  /// less. While more is taken than is needed at once, the buffer on top is the first of the next attempt.
  constexpr void pack_by_size() {
    FixedVector<int, node_capacity> order{};
    FixedVector<std::int64_t, node_capacity> smallness{};
    for (int k = 0; k < b_.size(); ++k) {
      smallness.push_back(-b_[k].size);
      insert(order, k, smallness);
    }
    const std::int64_t least = least_height(b_, nodes_);
    // Compilers bound how long a constant may take.
    const std::int64_t pairs = std::int64_t{b_.size()} * b_.size();
    for (std::int64_t work = pairs, attempt = 0; attempt < 10 && height_ > least; ++attempt, work += pairs) {
      if (attempt > 0 && work > 500'000) break;
      const int top = pack(order);
      int k = 0;
      while (order[k] != top) ++k;
      for (; k > 0; --k) order[k] = order[k - 1];
      order[0] = top;
    }
  }

 private:
  /// Returns the buffer that lies on top.
  constexpr int pack(const FixedVector<int, node_capacity>& order) {
    FixedVector<int, node_capacity> placed{};  // by their offsets
    FixedVector<std::int64_t, node_capacity> offset{};
    for (int k = 0; k < b_.size(); ++k) offset.push_back(0);
    std::int64_t height = 0;
    int top = order[0];
    for (const int k : order) {
      for (const int other : placed) {
        if (b_[other].end < b_[k].begin || b_[k].end < b_[other].begin) continue;
        if (offset[other] >= offset[k] + b_[k].size) break;
        if (offset[other] + b_[other].size > offset[k]) offset[k] = offset[other] + b_[other].size;
      }
      if (offset[k] + b_[k].size > height) {
        height = offset[k] + b_[k].size;
        top = k;
      }
      insert(placed, k, offset);
    }
    if (height < height_) {
      height_ = height;
      for (int k = 0; k < b_.size(); ++k) offset_[k] = offset[k];
    }
    return top;
  }

  /// Inserts `k` into a list that is sorted by rising keys.
  static constexpr void insert(FixedVector<int, node_capacity>& list, int k,
                               const FixedVector<std::int64_t, node_capacity>& key) {
    list.push_back(k);
    for (int i = list.size() - 1; i > 0 && key[list[i - 1]] > key[k]; --i) {
      list[i] = list[i - 1];
      list[i - 1] = k;
    }
  }

  const FixedVector<ArenaBuffer, node_capacity>& b_;
  int nodes_;
  FixedVector<std::int64_t, node_capacity> offset_{};
  std::int64_t height_ = 0;
};

}  // namespace detail
}  // namespace ulna
