// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>

#include <limits>
#include <vector>

#include "ulna/classic/constant.hpp"
#include "ulna/classic/otsu.hpp"
#include "ulna/random.hpp"

using ulna::classic::otsu;
using ulna::classic::otsu_threshold;

namespace {

ulna::ImageArray row_of(const std::vector<float>& values) {
  return ulna::image_from(std::span<const float>(values), 1, static_cast<int>(values.size()));
}

/// The definition, literally: try every grey value as the threshold, sum the pixels of both sides anew.
int otsu_by_hand(const std::vector<float>& pixels) {
  int best = -1;
  double best_variance = -1;
  for (int t = 0; t < 255; ++t) {
    double n0 = 0, n1 = 0, s0 = 0, s1 = 0;
    for (const float x : pixels) {
      (x > static_cast<float>(t) ? n1 : n0) += 1;
      (x > static_cast<float>(t) ? s1 : s0) += static_cast<double>(x);
    }
    if (n0 == 0 || n1 == 0) continue;
    const double variance = n0 * n1 * (s0 / n0 - s1 / n1) * (s0 / n0 - s1 / n1);
    if (variance > best_variance * (1 + 1e-12)) {
      best_variance = variance;
      best = t;
    }
  }
  return best;
}

}  // namespace

TEST_CASE("Otsu of random 8-bit images is what the definition says") {
  ulna::Random random(ulna::Seed{5});
  for (int round = 0; round < 100; ++round) {
    std::vector<float> pixels(static_cast<std::size_t>(2 + random.below(60)));
    const int dark = random.below(200), spread = 1 + random.below(50);
    for (float& x : pixels) {
      x = static_cast<float>(std::min(255, (random.chance(0.3f) ? 120 + dark / 2 : dark) + random.below(spread)));
    }
    pixels.front() = 0;
    pixels.back() = 255;
    CHECK(otsu_threshold(row_of(pixels)) == static_cast<float>(otsu_by_hand(pixels)));
  }
}

TEST_CASE("two values split after the lower one: the first of many equal maxima") {
  CHECK(otsu_threshold(row_of({10, 10, 10, 200})) == 10);
  const auto mask = otsu(row_of({10, 10, 10, 200}));
  CHECK(mask(0, 2) == 0);
  CHECK(mask(0, 3) == 1);
}

TEST_CASE("scaling the image scales the threshold and leaves the mask") {
  ulna::Random random(ulna::Seed{6});
  std::vector<float> bytes(500), fractions(500);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<float>(random.below(256));
    fractions[i] = bytes[i] / 255.0f;
  }
  CHECK(otsu_threshold(row_of(fractions), {0, 1}) == doctest::Approx(otsu_threshold(row_of(bytes)) / 255.0f));
  CHECK(otsu(row_of(fractions), {0, 1}) == otsu(row_of(bytes)));
}

TEST_CASE("a constant image is its own threshold and all background") {
  CHECK(otsu_threshold(row_of({77, 77, 77})) == 77);
  CHECK(otsu(row_of({77, 77, 77})) == ulna::LabelArray({{0, 0, 0}}));
}

TEST_CASE("only channel 0 counts") {
  const std::vector<float> values{0, 200, 0, 0, 200, 0, 200, 0};
  const auto image = ulna::image_from(std::span<const float>(values), 2, 2, 2);
  CHECK(otsu(image) == ulna::LabelArray({{0, 0}, {1, 1}}));
}

TEST_CASE("values that do not fit the range are refused") {
  CHECK_THROWS_AS(otsu(row_of({0, 256})), ulna::DataError);
  CHECK_THROWS_AS(otsu(row_of({0, 2}), {0, 1}), ulna::DataError);
  CHECK_THROWS_AS(otsu(row_of({0, std::numeric_limits<float>::quiet_NaN()})), ulna::DataError);
  CHECK_THROWS_AS(otsu(row_of({0, 1}), {1, 1}), ulna::ArgumentError);
}

TEST_CASE("the smaller side is the foreground") {
  using ulna::classic::minority_foreground;
  CHECK(minority_foreground({{1, 1, 0}}) == ulna::LabelArray({{0, 0, 1}}));
  CHECK(minority_foreground({{1, 0, 0}}) == ulna::LabelArray({{1, 0, 0}}));
  CHECK(minority_foreground({{1, 0}}) == ulna::LabelArray({{1, 0}}));
}

TEST_CASE("the constant predictor says the commonest class") {
  ulna::classic::ConstantPredictor constant;
  CHECK_THROWS_AS(constant.majority(), ulna::ArgumentError);
  constant.add({{3, 3, 0}});
  CHECK(constant.majority() == 3);
  constant.add({{0, 0, 2}});
  CHECK(constant.majority() == 0);
  CHECK(constant.predict(2, 1) == ulna::LabelArray({{0}, {0}}));
}
