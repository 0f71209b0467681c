// SPDX-License-Identifier: MIT
// Connected components: from classes of pixels to single objects.
#pragma once

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <vector>

#include "ulna/data/image.hpp"

namespace ulna {

/// Objects by number, (height, width): 0 is background.
using InstanceArray = xt::xtensor<int, 2>;

/// Which pixels touch: those that share an edge, or also those that share a corner.
enum class Connectivity { Four, Eight };

/// A label map cut into its connected components.
struct Components {
  InstanceArray instances;  ///< 0 background, then 1 to count by the first pixel in reading order
  int count = 0;
};

namespace detail {

/// Sets that only grow together (union-find with path halving); the smallest member stands for a set.
class DisjointSets {
 public:
  int add() {
    parent_.push_back(static_cast<int>(parent_.size()));
    return parent_.back();
  }
  int find(int member) {
    while (parent(member) != member) member = parent(member) = parent(parent(member));
    return member;
  }
  void join(int a, int b) {
    a = find(a);
    b = find(b);
    parent(std::max(a, b)) = std::min(a, b);
  }
  int size() const { return static_cast<int>(parent_.size()); }

 private:
  int& parent(int member) { return parent_[static_cast<std::size_t>(member)]; }
  std::vector<int> parent_;
};

}  // namespace detail

/// The connected components of the pixels that are not 0; pixels of different classes never join. Linear time, in two
/// passes: provisional numbers from the neighbours already seen, then the numbers that were found to be one.
inline Components connected_components(const LabelArray& labels, Connectivity connectivity = Connectivity::Four) {
  const int height = extent(labels, 0), width = extent(labels, 1);
  Components result;
  result.instances = InstanceArray::from_shape({labels.shape(0), labels.shape(1)});
  detail::DisjointSets sets;
  sets.add();  // 0, the background
  const std::uint8_t* label = labels.data();
  int* instance = result.instances.data();
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const std::ptrdiff_t here = std::ptrdiff_t{y} * width + x;
      instance[here] = 0;
      if (label[here] == 0) continue;
      const auto look = [&](int dy, int dx) {
        if (y + dy < 0 || x + dx < 0 || x + dx >= width) return;
        const std::ptrdiff_t there = here + std::ptrdiff_t{dy} * width + dx;
        if (label[there] != label[here]) return;
        if (instance[here] == 0) {
          instance[here] = instance[there];
        } else {
          sets.join(instance[here], instance[there]);
        }
      };
      look(0, -1);
      look(-1, 0);
      if (connectivity == Connectivity::Eight) {
        look(-1, -1);
        look(-1, 1);
      }
      if (instance[here] == 0) instance[here] = sets.add();
    }
  }
  std::vector<int> number(static_cast<std::size_t>(sets.size()));
  for (int set = 1; set < sets.size(); ++set) {
    const int root = sets.find(set);  // not above set, so numbered already when it differs
    number[static_cast<std::size_t>(set)] = root == set ? ++result.count : number[static_cast<std::size_t>(root)];
  }
  std::transform(instance, instance + result.instances.size(), instance,
                 [&](int set) { return number[static_cast<std::size_t>(set)]; });
  return result;
}

}  // namespace ulna
