// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include "ulna/random.hpp"
#include "ulna/train/border_weights.hpp"

using ulna::border_weight_map;
using ulna::BorderWeights;
using ulna::InstanceArray;

namespace {

/// The paper's formula with every distance found by trying every border pixel.
double weight_by_hand(const InstanceArray& map, int y, int x, const BorderWeights& w) {
  const int height = ulna::extent(map, 0), width = ulna::extent(map, 1);
  const auto inside = [&](int a, int b) { return a >= 0 && b >= 0 && a < height && b < width; };
  std::map<int, double> nearest;
  for (int v = 0; v < height; ++v) {
    for (int u = 0; u < width; ++u) {
      const int number = map(v, u);
      bool border = false;
      for (const auto& [dy, dx] : {std::pair{0, 1}, {1, 0}, {0, -1}, {-1, 0}}) {
        border |= inside(v + dy, u + dx) && map(v + dy, u + dx) != number;
      }
      if (number == 0 || !border) continue;
      const double distance = std::hypot(y - v, x - u);
      const auto [place, fresh] = nearest.emplace(number, distance);
      if (!fresh) place->second = std::min(place->second, distance);
    }
  }
  std::vector<double> distances;
  for (const auto& entry : nearest) distances.push_back(entry.second);
  std::sort(distances.begin(), distances.end());
  const bool cell = map(y, x) != 0;
  double weight = static_cast<double>(w.class_weights[cell ? 1 : 0]);
  if (distances.size() > 1 && !(cell && w.background_only)) {
    const double sum = distances[0] + distances[1], sigma = static_cast<double>(w.sigma);
    weight += static_cast<double>(w.w0) * std::exp(-sum * sum / (2 * sigma * sigma));
  }
  return weight;
}

}  // namespace

TEST_CASE("a gap of one pixel between two cells weighs w_c + w0 exp(-2^2 / (2 sigma^2))") {
  const auto map = border_weight_map(InstanceArray{{1, 1, 0, 2, 2}}, BorderWeights{});
  CHECK(map(0, 2) == doctest::Approx(1 + 10 * std::exp(-4.0 / 50)));
  CHECK(map(0, 1) == doctest::Approx(1 + 10 * std::exp(-4.0 / 50)));  // 0 to its own border, 2 to the other
  CHECK(map(0, 0) == doctest::Approx(1 + 10 * std::exp(-16.0 / 50)));
}

TEST_CASE("fewer than two cells leave the class weights alone") {
  const BorderWeights weights{.class_weights = {0.5f, 2}};
  CHECK(border_weight_map(InstanceArray{{0, 7, 7}}, weights) == ulna::WeightArray({{0.5f, 2, 2}}));
  CHECK(border_weight_map(InstanceArray{{0, 0}}, weights) == ulna::WeightArray({{0.5f, 0.5f}}));
}

TEST_CASE("random instance maps agree with the formula by brute force") {
  ulna::Random random(ulna::Seed{13});
  for (int round = 0; round < 60; ++round) {
    const auto height = static_cast<std::size_t>(1 + random.below(24));
    const auto width = static_cast<std::size_t>(1 + random.below(24));
    auto map = InstanceArray::from_shape({height, width});
    map.fill(0);
    const int cells = random.below(7);
    for (int cell = 1; cell <= cells; ++cell) {
      const auto top = static_cast<std::size_t>(random.below(static_cast<int>(height)));
      const auto left = static_cast<std::size_t>(random.below(static_cast<int>(width)));
      for (std::size_t y = top; y < std::min(height, top + 5); ++y) {
        for (std::size_t x = left; x < std::min(width, left + 6); ++x) map(y, x) = 3 * cell;
      }
    }
    BorderWeights weights{.class_weights = {0.75f, 1.5f}};
    weights.sigma = random.chance(0.5f) ? 5.0f : 1.0f;  // with 1 the windows end inside the image
    weights.background_only = random.chance(0.5f);
    const auto found = border_weight_map(map, weights);
    double worst = 0;
    for (int y = 0; y < ulna::extent(map, 0); ++y) {
      for (int x = 0; x < ulna::extent(map, 1); ++x) {
        worst = std::max(worst, std::abs(static_cast<double>(found(y, x)) - weight_by_hand(map, y, x, weights)));
      }
    }
    CHECK(worst < 1e-6);
  }
}

TEST_CASE("a reach beyond the image covers the image") {
  const auto map = border_weight_map(InstanceArray{{1, 0, 2}}, BorderWeights{.sigma = 1e30f});
  CHECK(map(0, 1) == doctest::Approx(11));
}

TEST_CASE("a mask is cut into its components") {
  const ulna::LabelArray mask{{1, 0, 1}, {1, 0, 1}};
  CHECK(border_weight_map(mask) == border_weight_map(InstanceArray{{1, 0, 2}, {1, 0, 2}}));
}

TEST_CASE("balanced class weights") {
  const std::vector<std::uint64_t> pixels{75, 25, 0};
  const auto weights = ulna::balanced_class_weights(pixels);
  CHECK(weights[0] == doctest::Approx(2.0 / 3));
  CHECK(weights[1] == doctest::Approx(2));
  CHECK(weights[2] == 0);
  CHECK_THROWS_AS(ulna::balanced_class_weights(std::vector<std::uint64_t>{0, 0}), ulna::ArgumentError);
}

TEST_CASE("what does not fit is refused") {
  CHECK_THROWS_AS(border_weight_map(InstanceArray{{0, -1}}), ulna::DataError);
  CHECK_THROWS_AS(border_weight_map(InstanceArray{{0, 1}}, BorderWeights{.sigma = 0}), ulna::ArgumentError);
  CHECK_THROWS_AS(border_weight_map(InstanceArray{{0, 1}}, BorderWeights{.w0 = std::nanf("")}), ulna::ArgumentError);
}
