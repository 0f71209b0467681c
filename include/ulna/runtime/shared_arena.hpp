// SPDX-License-Identifier: MIT
// Kernels' scratch inside the arena. Kernels that need much of it run where few values live, deep in a network, and
// values that live all along leave gaps between them: together they take less than an arena and scratch apart.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ulna/graph/graph.hpp"
#include "ulna/graph/plan.hpp"

namespace ulna {

/// A value of the arena: the bytes that it takes, and the nodes that write it first and read it last.
struct Life {
  std::size_t begin = 0;
  std::size_t end = 0;
  int first = 0;
  int last = 0;

  bool at(std::size_t node) const { return first <= static_cast<int>(node) && static_cast<int>(node) <= last; }
};

/// Where the scratch of each node lies in an arena.
class SharedArena {
 public:
  SharedArena() = default;

  /// `lives`: of a batch of so many samples, whose values take `arena` bytes. `needs`: bytes of scratch of each node.
  SharedArena(std::vector<Life> lives, std::span<const std::size_t> needs, std::size_t arena, int batch)
      : batch_(batch), bytes_(whole_lines(arena)), rooms_(needs.size()) {
    std::ranges::sort(lives, {}, &Life::begin);
    std::vector<std::size_t> heights(needs.size());  // that the values reach
    std::size_t most = 0;
    for (std::size_t i = 0; i < needs.size(); ++i) {
      const std::size_t need = whole_lines(needs[i]);
      rooms_[i] = room_of(lowest_gap(lives, i, need), need);
      most = std::max(most, need);
      bytes_ = std::max(bytes_, rooms_[i].end);
      for (const Life& life : lives)
        if (life.at(i)) heights[i] = std::max(heights[i], life.end);
    }
    // With a sample less, all values end before the largest scratch that ends with the arena.
    const auto samples = static_cast<std::size_t>(batch);
    bytes_ = std::max(bytes_, whole_lines(arena / samples * (samples - 1)) + most);
    end_ = {bytes_ - most, bytes_};
    // Most kernels share one place, which stays in the caches: behind all values, or as near to that as they leave
    // room.
    const std::size_t behind = whole_lines(arena);
    for (std::size_t i = 0; i < needs.size(); ++i) {
      const std::size_t need = rooms_[i].end - rooms_[i].begin;
      const std::size_t begin = std::min(behind, bytes_ - need);
      if (heights[i] <= begin) rooms_[i] = room_of(begin, need);
    }
  }

  /// Of arena and scratch together, a multiple of 64.
  std::size_t bytes() const { return bytes_; }

  /// The scratch of a node in the arena that begins at `arena`, at the batch of construction or a smaller one.
  std::span<std::byte> scratch(std::byte* arena, std::size_t node, int batch) const {
    const Room room = batch == batch_ ? rooms_[node] : end_;
    return {arena + room.begin, arena + room.end};
  }

 private:
  struct Room {
    std::size_t begin = 0;
    std::size_t end = 0;
  };

  static constexpr Room room_of(std::size_t begin, std::size_t need) { return {begin, begin + need}; }
  static constexpr std::size_t whole_lines(std::size_t bytes) { return (bytes + 63) / 64 * 64; }

  /// The beginning of the lowest `need` bytes that are of no value that lives at a node. `lives` rise.
  static std::size_t lowest_gap(const std::vector<Life>& lives, std::size_t node, std::size_t need) {
    std::size_t begin = 0;
    for (const Life& life : lives) {
      if (!life.at(node)) continue;
      if (begin + need <= life.begin) break;
      begin = std::max(begin, whole_lines(life.end));
    }
    return begin;
  }

  int batch_ = 0;
  std::size_t bytes_ = 0;
  Room end_{};               ///< the largest scratch that ends with the arena
  std::vector<Room> rooms_;  ///< of each node, at the batch of construction
};

/// The lives of a compiled graph's values in the arena, of those for which has(id) is true. `bytes`: of an element, for
/// all samples.
std::vector<Life> lives_of(const auto& compiled, std::size_t bytes, auto&& has) {
  const auto& graph = compiled.graph;
  const int n = graph.nodes.size();
  std::vector<int> last(static_cast<std::size_t>(n));
  for (int i = 0; i < n; ++i) {
    last[static_cast<std::size_t>(i)] = i;
    for (const int x : graph.nodes[i].input)
      if (x >= 0) last[static_cast<std::size_t>(x)] = i;
  }
  const int kept[] = {graph.output, graph.loss, graph.image_gradient, graph.output_gradient};
  for (const int id : kept)
    if (id >= 0) last[static_cast<std::size_t>(id)] = n;
  for (const Published& p : graph.published) last[static_cast<std::size_t>(p.node)] = n;
  std::vector<Life> lives;
  for (int i = 0; i < n; ++i) {
    const Node& node = graph.nodes[i];
    const Place& p = compiled.plan.places[i];
    if (p.storage != Storage::arena || !has(i)) continue;
    const bool beside = node.op == Op::max_pool && node.pooled;  // the convolution before it writes it
    const auto begin = static_cast<std::size_t>(p.offset);
    const auto size = static_cast<std::size_t>(p.pixel_stride * node.shape.pixels());
    lives.push_back(
        {begin * bytes, (begin + size) * bytes, beside ? node.input[0] : i, last[static_cast<std::size_t>(i)]});
  }
  return lives;
}

}  // namespace ulna
