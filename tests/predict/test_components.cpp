// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>

#include <utility>
#include <vector>

#include "ulna/predict/components.hpp"
#include "ulna/random.hpp"

using ulna::connected_components;
using ulna::Connectivity;
using ulna::InstanceArray;
using ulna::LabelArray;

namespace {

/// The oracle: flood fill from each unnumbered pixel in reading order.
InstanceArray flood(const LabelArray& labels, bool corners) {
  const int height = ulna::extent(labels, 0), width = ulna::extent(labels, 1);
  auto out = InstanceArray::from_shape({labels.shape(0), labels.shape(1)});
  out.fill(0);
  int count = 0;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      if (labels(y, x) == 0 || out(y, x) != 0) continue;
      std::vector<std::pair<int, int>> todo{{y, x}};
      out(y, x) = ++count;
      while (!todo.empty()) {
        const auto [cy, cx] = todo.back();
        todo.pop_back();
        for (int dy = -1; dy <= 1; ++dy) {
          for (int dx = -1; dx <= 1; ++dx) {
            const int ny = cy + dy, nx = cx + dx;
            if ((!corners && dy != 0 && dx != 0) || ny < 0 || nx < 0 || ny >= height || nx >= width) continue;
            if (out(ny, nx) != 0 || labels(ny, nx) != labels(cy, cx)) continue;
            out(ny, nx) = count;
            todo.emplace_back(ny, nx);
          }
        }
      }
    }
  }
  return out;
}

}  // namespace

TEST_CASE("corners join or part two diagonal pixels") {
  const LabelArray diagonal{{1, 0}, {0, 1}};
  CHECK(connected_components(diagonal, Connectivity::Four).count == 2);
  CHECK(connected_components(diagonal, Connectivity::Eight).count == 1);
}

TEST_CASE("a spiral is one component, and classes part components") {
  const auto spiral = connected_components({{1, 1, 1, 1}, {0, 0, 0, 1}, {1, 1, 0, 1}, {1, 0, 0, 1}, {1, 1, 1, 1}});
  CHECK(spiral.count == 1);
  const auto classes = connected_components({{1, 2, 2, 1}});
  CHECK(classes.count == 3);
  CHECK(classes.instances == InstanceArray({{1, 2, 2, 3}}));
  CHECK(connected_components(LabelArray({{0, 0}})).count == 0);
}

TEST_CASE("random label maps agree with flood filling") {
  ulna::Random random(ulna::Seed{11});
  for (int round = 0; round < 300; ++round) {
    auto labels = ulna::make_labels(1 + random.below(14), 1 + random.below(14));
    const int classes = 2 + random.below(2);
    for (std::size_t i = 0; i < labels.size(); ++i) labels.data()[i] = static_cast<std::uint8_t>(random.below(classes));
    CHECK(connected_components(labels, Connectivity::Four).instances == flood(labels, false));
    CHECK(connected_components(labels, Connectivity::Eight).instances == flood(labels, true));
  }
}
