// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "ulna/data/synthetic.hpp"

using namespace ulna;

namespace {

/// The threshold that parts the histogram into the two classes of largest between-class variance (Otsu 1979).
int otsu_threshold(const ImageArray& image) {
  std::array<double, 256> histogram{};
  double total = 0;
  for (const float value : image) {
    ++histogram[static_cast<std::size_t>(value)];
    total += double{value};
  }
  const auto count = static_cast<double>(image.size());
  double below = 0, sum = 0, best = -1;
  int threshold = 0;
  for (int t = 0; t < 256; ++t) {
    below += histogram[static_cast<std::size_t>(t)];
    sum += t * histogram[static_cast<std::size_t>(t)];
    if (below == 0 || below == count) continue;
    const double variance = std::pow(total * below / count - sum, 2) / (below * (count - below));
    if (variance > best) {
      best = variance;
      threshold = t;
    }
  }
  return threshold;
}

/// Fraction of pixels that "membrane where darker than the threshold" gets wrong.
double threshold_error(const Sample& sample, int threshold) {
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < sample.labels.size(); ++i) {
    const bool dark = sample.image.data()[i] <= static_cast<float>(threshold);
    wrong += dark != (sample.labels.data()[i] == 1) ? 1 : 0;
  }
  return static_cast<double>(wrong) / static_cast<double>(sample.labels.size());
}

double membrane_fraction(const Sample& sample) {
  const auto count = std::count(sample.labels.begin(), sample.labels.end(), 1);
  return static_cast<double>(count) / static_cast<double>(sample.labels.size());
}

}  // namespace

TEST_CASE("synthetic cells: extents, whole values 0..255, two classes, the same for the same arguments") {
  const Sample sample = synthetic_cells(96, 130, Seed{1}, 5);
  CHECK(sample.name == "cells_5");
  CHECK(sample.image.shape() == ImageArray::shape_type{96, 130, 1});
  CHECK(sample.labels.shape() == LabelArray::shape_type{96, 130});
  CHECK(std::all_of(sample.image.begin(), sample.image.end(),
                    [](float v) { return v >= 0 && v <= 255 && v == std::floor(v); }));
  CHECK(std::all_of(sample.labels.begin(), sample.labels.end(), [](int v) { return v <= 1; }));
  const Sample again = synthetic_cells(96, 130, Seed{1}, 5);
  CHECK(again.image == sample.image);
  CHECK(again.labels == sample.labels);
  CHECK_FALSE(synthetic_cells(96, 130, Seed{1}, 6).labels == sample.labels);
  CHECK_FALSE(synthetic_cells(96, 130, Seed{2}, 5).labels == sample.labels);
}

TEST_CASE("a threshold does not solve them, and membranes are darker than what lies beside them") {
  double fraction = 0, otsu = 0, best = 0;
  const int images = 6;
  for (std::uint64_t i = 0; i < images; ++i) {
    const Sample sample = synthetic_cells(256, 256, Seed{7}, i);
    fraction += membrane_fraction(sample) / images;
    otsu += threshold_error(sample, otsu_threshold(sample.image)) / images;
    double least = 1;
    for (int t = 0; t < 256; ++t) least = std::min(least, threshold_error(sample, t));
    best += least / images;

    // Learnable: across a membrane, the middle is darker than 5 pixels to the left and to the right, mostly.
    int darker = 0, crossings = 0;
    for (std::size_t r = 0; r < 256; ++r) {
      for (std::size_t c = 5; c < 251; ++c) {
        const auto label = [&](std::size_t column) { return sample.labels(r, column); };
        if (label(c) != 1 || label(c - 1) != 1 || label(c + 1) != 1 || label(c - 5) != 0 || label(c + 5) != 0) continue;
        const auto value = [&](std::size_t column) { return sample.image(r, column, 0); };
        ++crossings;
        darker += 2 * value(c) < value(c - 5) + value(c + 5) ? 1 : 0;
      }
    }
    CHECK(crossings > 500);
    CHECK(darker > 0.8 * crossings);
  }
  CHECK(fraction > 0.15);
  CHECK(fraction < 0.25);
  CHECK(otsu > fraction + 0.03);  // worse than calling everything a cell
  CHECK(best > 0.8 * fraction);   // no other threshold helps much
}

TEST_CASE("extents from 16 to 8192") {
  CHECK(membrane_fraction(synthetic_cells(16, 300, Seed{3})) > 0);
  CHECK_THROWS_AS(synthetic_cells(15, 300, Seed{3}), ArgumentError);
  CHECK_THROWS_AS(synthetic_cells(300, 8193, Seed{3}), ArgumentError);
}
