// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "temporary_folder.hpp"
#include "ulna/data/normalize.hpp"

using namespace ulna;
using ulna::testing::contains;
using ulna::testing::message_of;

TEST_CASE("z-score: mean 0, population deviation 1") {
  ImageArray image = image_from(std::vector<float>{2, 4, 4, 4, 5, 5, 7, 9}, 2, 4);  // mean 5, deviation 2
  normalize(image, ZScore{});
  CHECK(image(0, 0, 0) == doctest::Approx(-1.5));
  CHECK(image(1, 0, 0) == 0);
  CHECK(image(1, 3, 0) == doctest::Approx(2));
}

TEST_CASE("z-score by channel treats channels apart; a constant image becomes 0") {
  ImageArray image = image_from(std::vector<float>{1, 100, 3, 300}, 1, 2, 2);
  normalize(image, ZScore{.per_channel = true});
  for (std::size_t channel = 0; channel < 2; ++channel) {
    CHECK(image(0, 0, channel) == doctest::Approx(-1));
    CHECK(image(0, 1, channel) == doctest::Approx(1));
  }
  ImageArray flat = image_from(std::vector<float>(6, 17.0f), 2, 3);
  normalize(flat, ZScore{});
  CHECK(std::all_of(flat.begin(), flat.end(), [](float v) { return v == 0; }));
}

TEST_CASE("z-score keeps its precision on large offsets") {
  std::vector<float> values(10000);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = 60000.0f + static_cast<float>(i % 2);
  ImageArray image = image_from(values, 100, 100);
  normalize(image, ZScore{});
  CHECK(image(0, 0, 0) == doctest::Approx(-1));
  CHECK(image(0, 1, 0) == doctest::Approx(1));
}

TEST_CASE("min-max maps the extremes to the bounds") {
  ImageArray image = image_from(std::vector<float>{10, 20, 30}, 1, 3);
  normalize(image, MinMax{.low = -1, .high = 1});
  CHECK(image(0, 0, 0) == -1);
  CHECK(image(0, 1, 0) == doctest::Approx(0));
  CHECK(image(0, 2, 0) == 1);
  ImageArray flat = image_from(std::vector<float>(6, 17.0f), 2, 3);
  normalize(flat, MinMax{});
  CHECK(flat(1, 1, 0) == 0);
}

TEST_CASE("fixed mean and deviation, for all channels or each") {
  ImageArray image = image_from(std::vector<float>{1, 2, 3, 4}, 1, 2, 2);
  normalize(image, FixedMeanStd{{1, 2}, {2, 1}});
  CHECK(image(0, 1, 0) == 1);
  CHECK(image(0, 1, 1) == 2);
  normalize(image, FixedMeanStd{{1}, {2}});
  CHECK(image(0, 1, 1) == 0.5f);
  CHECK_THROWS_AS(normalize(image, FixedMeanStd{{1, 2, 3}, {1, 1, 1}}), ArgumentError);
  CHECK_THROWS_AS(normalize(image, FixedMeanStd{{1}, {0}}), ArgumentError);
  CHECK_THROWS_AS(normalize(image, FixedMeanStd{{1}, {}}), ArgumentError);
}

TEST_CASE("percentiles interpolate between ranks") {
  std::vector<float> values = {5, 1, 4, 2, 3};
  CHECK(percentile(values, 0) == 1);
  CHECK(percentile(values, 50) == 3);
  CHECK(percentile(values, 100) == 5);
  CHECK(percentile(values, 90) == doctest::Approx(4.6));
  CHECK_THROWS_AS(percentile(values, 101), ArgumentError);
  CHECK_THROWS_AS(percentile({}, 50), ArgumentError);
}

TEST_CASE("percentile clip tames a hot pixel and leaves the rest") {
  std::vector<float> values(1000);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  values[500] = 1e6f;
  ImageArray image = image_from(values, 20, 50);
  normalize(image, PercentileClip{1, 99});
  CHECK(image(10, 0, 0) < 1000);
  CHECK(image(0, 0, 0) == doctest::Approx(9.99));
  CHECK(image(10, 10, 0) == 510);
  CHECK_THROWS_AS(normalize(image, PercentileClip{99, 1}), ArgumentError);
}

TEST_CASE("NaN and infinity are refused with the sample and the pixel") {
  std::vector<Sample> samples(2);
  samples[0] = {"first", image_from(std::vector<float>{0, 1}, 1, 2), make_labels(1, 2), {}};
  samples[1] = samples[0];
  samples[1].name = "second";
  samples[1].image(0, 1, 0) = std::numeric_limits<float>::infinity();
  const auto text = message_of<DataError>([&] { normalize(samples, ZScore{}); });
  CHECK(contains(text, "'second'"));
  CHECK(contains(text, "row 0, column 1"));
  ImageArray empty;
  CHECK_THROWS_AS(normalize(empty, ZScore{}), DataError);
}
