// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>

#include "ulna/predict/distance_transform.hpp"
#include "ulna/random.hpp"

using ulna::infinitely_far;
using ulna::squared_distance_transform;
using ulna::SquaredDistances;

TEST_CASE("one pixel") {
  const auto squared = squared_distance_transform({{0, 0, 0}, {0, 0, 0}, {1, 0, 0}});
  CHECK(squared == SquaredDistances({{4, 5, 8}, {1, 2, 5}, {0, 1, 4}}));
}

TEST_CASE("an empty mask is infinitely far") {
  CHECK(squared_distance_transform({{0, 0}}) == SquaredDistances({{infinitely_far, infinitely_far}}));
}

TEST_CASE("random masks, dense to sparse, agree with trying every pair") {
  ulna::Random random(ulna::Seed{12});
  for (int round = 0; round < 300; ++round) {
    auto mask = ulna::make_labels(1 + random.below(20), 1 + random.below(20));
    const float density = random.chance(0.5f) ? 0.02f : 0.3f;
    for (std::size_t i = 0; i < mask.size(); ++i) mask.data()[i] = random.chance(density) ? 1 : 0;
    auto expected = SquaredDistances::from_shape({mask.shape(0), mask.shape(1)});
    expected.fill(infinitely_far);
    const int height = ulna::extent(mask, 0), width = ulna::extent(mask, 1);
    for (int y = 0; y < height * width; ++y) {
      for (int q = 0; q < height * width; ++q) {
        if (mask.data()[q] == 0) continue;
        const std::int64_t dy = y / width - q / width, dx = y % width - q % width;
        expected.data()[y] = std::min(expected.data()[y], dy * dy + dx * dx);
      }
    }
    CHECK(squared_distance_transform(mask) == expected);
  }
}
