// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>
#include <vector>

#include "temporary_folder.hpp"
#include "ulna/data/augment.hpp"

using namespace ulna;
using ulna::testing::contains;
using ulna::testing::message_of;

namespace {

/// A sample whose pixel (r, c) tells its place; labels (r + 3c) % 256 and weights follow the image.
Sample numbered(int height, int width, int channels = 1) {
  Sample sample{"numbered", make_image(height, width, channels), make_labels(height, width),
                detail::make_array<WeightArray>(height, width)};
  for (std::size_t r = 0; r < sample.labels.shape(0); ++r) {
    for (std::size_t c = 0; c < sample.labels.shape(1); ++c) {
      sample.labels(r, c) = static_cast<std::uint8_t>((r + 3 * c) % 256);
      sample.weights(r, c) = static_cast<float>(r * sample.labels.shape(1) + c);
      for (std::size_t k = 0; k < sample.image.shape(2); ++k) {
        sample.image(r, c, k) = sample.weights(r, c) + 0.25f * static_cast<float>(k);
      }
    }
  }
  return sample;
}

/// A sample whose image is its mask: blobs of 0 and 1.
Sample image_is_mask(int height, int width) {
  Sample sample{"blobs", make_image(height, width), make_labels(height, width), {}};
  for (std::size_t r = 0; r < sample.labels.shape(0); ++r) {
    for (std::size_t c = 0; c < sample.labels.shape(1); ++c) {
      const bool blob = std::sin(0.21 * static_cast<double>(r)) * std::cos(0.17 * static_cast<double>(c)) > 0.1;
      sample.labels(r, c) = blob ? 1 : 0;
      sample.image(r, c, 0) = blob ? 1.0f : 0.0f;
    }
  }
  return sample;
}

Augmentation everything() {
  Augmentation all = Augmentation::dihedral();
  all.rotation = 15;
  all.scaling = 0.2f;
  all.elastic_probability = 0.7f;
  all.inversion_probability = 0.3f;
  all.gamma = 0.3f;
  all.contrast = 0.2f;
  all.brightness = 0.1f;
  all.noise = 0.1f;
  return all;
}

}  // namespace

TEST_CASE("reflect_index mirrors without repeating the border") {
  const std::array<int, 13> expected = {2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1, 2};
  for (int i = -4; i < 9; ++i) CHECK(reflect_index(i, 4) == expected[static_cast<std::size_t>(i + 4)]);
  CHECK(reflect_index(-7, 1) == 0);
  CHECK(reflect_index(1000001, 2) == 1);
}

TEST_CASE("the middle crop of the whole image is the image, to the bit") {
  const Sample sample = numbered(17, 12, 3);
  Augmentation none;
  none.random_crop = false;
  Random random(Seed{1});
  const Sample result = augment(sample, none, 17, 12, random);
  CHECK(result.image == sample.image);
  CHECK(result.labels == sample.labels);
  CHECK(result.weights == sample.weights);
  CHECK(result.name == "numbered");
}

TEST_CASE("right angles and flips are exact moves of pixels; all eight orientations occur, and no other") {
  const Sample sample = numbered(9, 9, 2);
  std::set<std::vector<float>> orientations;
  for (std::uint64_t i = 0; i < 200; ++i) {
    Random random(Seed{2}, i);
    const Sample result = augment(sample, Augmentation::dihedral(), 9, 9, random);
    orientations.emplace(result.weights.begin(), result.weights.end());
    bool consistent = true;
    for (std::size_t r = 0; r < 9; ++r) {
      for (std::size_t c = 0; c < 9; ++c) {
        const auto index = static_cast<std::size_t>(result.weights(r, c));
        consistent = consistent && result.image(r, c, 0) == result.weights(r, c) &&
                     result.image(r, c, 1) == result.weights(r, c) + 0.25f &&
                     result.labels(r, c) == sample.labels.data()[index];
      }
    }
    CHECK(consistent);
  }
  CHECK(orientations.size() == 8);
}

TEST_CASE("right angles alone are the four rotations, without mirror images") {
  const Sample sample = numbered(5, 5);
  Augmentation turns;
  turns.right_angles = true;
  std::set<std::vector<float>> seen;
  for (std::uint64_t i = 0; i < 60; ++i) {
    Random random(Seed{3}, i);
    const Sample result = augment(sample, turns, 5, 5, random);
    seen.emplace(result.weights.begin(), result.weights.end());
    // A rotation keeps the sense of a turn: the step right x the step down has the sign it had.
    const auto place = [&](std::size_t r, std::size_t c) {
      const int index = static_cast<int>(result.weights(r, c));
      return std::pair{index / 5, index % 5};
    };
    const auto [r0, c0] = place(0, 0);
    const auto [r1, c1] = place(0, 1);
    const auto [r2, c2] = place(1, 0);
    CHECK((c1 - c0) * (r2 - r0) - (r1 - r0) * (c2 - c0) == 1);
  }
  CHECK(seen.size() == 4);
}

TEST_CASE("crops lie inside the image, reach its corners, and non-square crops turn") {
  const Sample sample = numbered(20, 30);
  Augmentation options;
  options.right_angles = true;
  std::set<float> corners;
  for (std::uint64_t i = 0; i < 3000; ++i) {
    Random random(Seed{4}, i);
    const Sample result = augment(sample, options, 15, 8, random);
    REQUIRE(result.image.shape(0) == 15);
    REQUIRE(result.image.shape(1) == 8);
    std::set<float> distinct(result.weights.begin(), result.weights.end());
    REQUIRE(distinct.size() == 15 * 8);  // nothing was reflected
    corners.insert(*distinct.begin());
    corners.insert(*distinct.rbegin());
  }
  CHECK(corners.contains(0));
  CHECK(corners.contains(20 * 30 - 1));
}

TEST_CASE("an image smaller than the crop is reflected at its borders and lies inside as a whole") {
  const Sample sample = numbered(3, 4);
  Augmentation none;
  none.random_crop = false;
  Random random(Seed{5});
  const Sample result = augment(sample, none, 5, 8, random);
  for (std::size_t r = 0; r < 5; ++r) {
    for (std::size_t c = 0; c < 8; ++c) {
      const int row = reflect_index(static_cast<int>(r) - 1, 3), column = reflect_index(static_cast<int>(c) - 2, 4);
      CHECK(result.weights(r, c) == static_cast<float>(row * 4 + column));
    }
  }
  for (std::uint64_t i = 0; i < 50; ++i) {
    Random drawn(Seed{6}, i);
    const Sample large = augment(sample, Augmentation::dihedral(), 11, 9, drawn);
    CHECK(std::set<float>(large.weights.begin(), large.weights.end()).size() == 12);
  }
  const Sample pixel = augment(numbered(1, 1), everything(), 6, 6, random);
  CHECK(pixel.labels(5, 5) == 0);
}

TEST_CASE("a label margin cuts labels and weights to the middle, and lets them reach the border of the image") {
  const Sample sample = numbered(20, 20);
  std::set<float> seen;
  for (std::uint64_t i = 0; i < 500; ++i) {
    Random random(Seed{7}, i);
    const Sample result = augment(sample, Augmentation{}, Crop{12, 14, 3}, random);
    REQUIRE(result.labels.shape(0) == 6);
    REQUIRE(result.labels.shape(1) == 8);
    bool middle = true;
    for (std::size_t r = 0; r < 6; ++r) {
      for (std::size_t c = 0; c < 8; ++c) middle = middle && result.weights(r, c) == result.image(r + 3, c + 3, 0);
    }
    CHECK(middle);
    seen.insert(result.weights.begin(), result.weights.end());
  }
  CHECK(seen.size() == 400);
  Random random(Seed{7});
  CHECK_THROWS_AS(augment(sample, Augmentation{}, Crop{12, 14, 6}, random), ArgumentError);
  CHECK_THROWS_AS(augment(sample, Augmentation{}, 0, 14, random), ArgumentError);
}

TEST_CASE("elastic deformation of sigma 0 is the identity, to the bit, in every orientation") {
  const Sample sample = numbered(40, 33, 2);
  for (std::uint64_t i = 0; i < 30; ++i) {
    Augmentation exact = Augmentation::dihedral(), elastic = exact;
    elastic.elastic_probability = 1;
    elastic.elastic_sigma = 0;
    Random first(Seed{8}, i), second(Seed{8}, i);
    const Sample copied = augment(sample, exact, 24, 31, first), sampled = augment(sample, elastic, 24, 31, second);
    CHECK(copied.image == sampled.image);
    CHECK(copied.labels == sampled.labels);
    CHECK(copied.weights == sampled.weights);
  }
}

TEST_CASE("image, mask and weights get the same geometry under every augmentation") {
  Sample sample = image_is_mask(90, 80);
  sample.weights = detail::make_array<WeightArray>(90, 80);
  std::copy(sample.image.begin(), sample.image.end(), sample.weights.begin());
  Augmentation options = Augmentation::dihedral();
  options.rotation = 30;
  options.scaling = 0.3f;
  options.elastic_probability = 1;
  int moved = 0;
  for (std::uint64_t i = 0; i < 20; ++i) {
    Random random(Seed{9}, i);
    const Sample result = augment(sample, options, 64, 64, random);
    int wrong = 0;
    for (std::size_t p = 0; p < result.labels.size(); ++p) {
      // Bilinear values of a 0/1 image lie between the four neighbours, of which the label is one.
      const float value = result.image.data()[p];
      const int label = result.labels.data()[p];
      wrong += (label == 1 && value <= 0) || (label == 0 && value >= 1) ? 1 : 0;
      wrong += result.weights.data()[p] == static_cast<float>(label) ? 0 : 1;
      moved += value > 0 && value < 1 ? 1 : 0;
    }
    CHECK(wrong == 0);
  }
  CHECK(moved > 1000);
}

TEST_CASE("rotation by a small angle and zoom move pixels to where they belong") {
  // On a linear image bilinear sampling is exact, so the value tells the source coordinates of the patch's pixels.
  Sample sample = numbered(61, 61, 2);
  for (std::size_t r = 0; r < 61; ++r) {
    for (std::size_t c = 0; c < 61; ++c) {
      sample.image(r, c, 0) = static_cast<float>(r);
      sample.image(r, c, 1) = static_cast<float>(c);
    }
  }
  Augmentation options;
  options.random_crop = false;
  options.rotation = 20;
  options.scaling = 0.2f;
  for (std::uint64_t i = 0; i < 20; ++i) {
    Random random(Seed{10}, i);
    const Sample result = augment(sample, options, 21, 21, random);
    CHECK(result.image(10, 10, 0) == doctest::Approx(30));
    CHECK(result.image(10, 10, 1) == doctest::Approx(30));
    const float down = result.image(20, 10, 0) - 30, right = result.image(20, 10, 1) - 30;
    const float length = std::hypot(down, right) / 10;
    CHECK(length > 1 / 1.2f - 1e-3f);
    CHECK(length < 1 / 0.8f + 1e-3f);
    CHECK(std::abs(std::atan2(right, down)) < 20.01f * 3.14159f / 180);
    // A similarity: the other axis is as long and at a right angle.
    CHECK(result.image(10, 20, 0) - 30 == doctest::Approx(-right).epsilon(1e-3));
    CHECK(result.image(10, 20, 1) - 30 == doctest::Approx(down).epsilon(1e-3));
  }
}

TEST_CASE("the elastic field passes through its nodes and is smooth between") {
  Random random(Seed{11});
  const ElasticField field(65, 129, 3, 10, random);
  std::vector<std::vector<ElasticField::Vector>> rows(65, std::vector<ElasticField::Vector>(129));
  for (int r = 0; r < 65; ++r) field.row(r, rows[static_cast<std::size_t>(r)].data());
  for (int r = 0; r < 3; ++r) {
    for (int c = 0; c < 3; ++c) {
      const auto& at = rows[static_cast<std::size_t>(32 * r)][static_cast<std::size_t>(64 * c)];
      CHECK(at.row == doctest::Approx(field.node(r, c).row).epsilon(1e-4));
      CHECK(at.column == doctest::Approx(field.node(r, c).column).epsilon(1e-4));
    }
  }
  float largest_bend = 0;  // second difference along rows
  for (const auto& row : rows) {
    for (std::size_t c = 1; c < 128; ++c) {
      largest_bend = std::max(largest_bend, std::abs(row[c - 1].row - 2 * row[c].row + row[c + 1].row));
    }
  }
  CHECK(largest_bend < 0.2f);
}

TEST_CASE("displacements at the nodes are N(0, sigma)") {
  double sum = 0, squares = 0;
  const int fields = 400;
  for (int i = 0; i < fields; ++i) {
    Random random(Seed{12}, static_cast<std::uint64_t>(i));
    const ElasticField field(8, 8, 3, 10, random);
    for (int node = 0; node < 9; ++node) {
      for (const double value :
           {double{field.node(node / 3, node % 3).row}, double{field.node(node / 3, node % 3).column}}) {
        sum += value;
        squares += value * value;
      }
    }
  }
  const double count = fields * 18.0;
  CHECK(std::abs(sum / count) < 0.5);  // standard error 0.12
  CHECK(std::sqrt(squares / count) == doctest::Approx(10).epsilon(0.04));
  Random random(Seed{12});
  CHECK_THROWS_AS(ElasticField(8, 8, 1, 10, random), ArgumentError);
  CHECK_THROWS_AS(ElasticField(8, 8, 3, -1, random), ArgumentError);
}

TEST_CASE("intensity augmentations do what they say") {
  std::vector<float> base(1000);
  for (std::size_t i = 0; i < base.size(); ++i) base[i] = static_cast<float>(i) / 999 * 4 - 2;  // -2..2, mean 0
  const auto applied = [&](const Augmentation& options, std::uint64_t stream) {
    std::vector<float> values = base;
    Random random(Seed{13}, stream);
    augment_intensity(values, options, random);
    return values;
  };
  Augmentation invert, gamma, contrast, bright, noise;
  invert.inversion_probability = 1;
  gamma.gamma = 1;
  contrast.contrast = 0.5f;
  bright.brightness = 3;
  noise.noise = 0.5f;
  CHECK(applied({}, 0) == base);
  CHECK(applied(invert, 0)[0] == doctest::Approx(2));
  CHECK(applied(invert, 0)[999] == doctest::Approx(-2));
  for (std::uint64_t stream = 0; stream < 20; ++stream) {
    const auto curved = applied(gamma, stream);
    CHECK(curved[0] == doctest::Approx(-2));
    CHECK(curved[999] == doctest::Approx(2));
    CHECK(std::is_sorted(curved.begin(), curved.end()));
    CHECK(curved[500] > -1.01f);  // t = 1/2 to a power from 1/2 to 2
    CHECK(curved[500] < 0.84f);
    const auto scaled = applied(contrast, stream);
    CHECK(scaled[0] == doctest::Approx(-scaled[999]).epsilon(1e-3));
    CHECK(scaled[999] >= 0.999f);
    CHECK(scaled[999] <= 3.001f);
    const auto shifted = applied(bright, stream);
    CHECK(shifted[10] - base[10] == doctest::Approx(shifted[900] - base[900]).epsilon(1e-3));
    CHECK(std::abs(shifted[10] - base[10]) <= 3.001f);
    const auto noisy = applied(noise, stream);
    double squares = 0;
    for (std::size_t i = 0; i < 1000; ++i) squares += std::pow(double{noisy[i]} - double{base[i]}, 2);
    CHECK(squares > 0);
    CHECK(std::sqrt(squares / 1000) < 0.56);
  }
}

TEST_CASE("a constant patch stays finite under every augmentation") {
  Sample sample = numbered(20, 20);
  std::fill(sample.image.begin(), sample.image.end(), 3.0f);
  for (std::uint64_t i = 0; i < 30; ++i) {
    Random random(Seed{14}, i);
    CHECK_NOTHROW(require_finite(augment(sample, everything(), 16, 16, random).image, "patch"));
  }
}

TEST_CASE("what is drawn depends on the stream alone") {
  const Sample sample = numbered(50, 40);
  for (std::uint64_t i = 0; i < 10; ++i) {
    Random first(Seed{15}, i), again(Seed{15}, i), other(Seed{15}, i + 100);
    const Sample a = augment(sample, everything(), 32, 32, first), b = augment(sample, everything(), 32, 32, again);
    CHECK(a.image == b.image);
    CHECK(a.labels == b.labels);
    CHECK_FALSE(a.image == augment(sample, everything(), 32, 32, other).image);
  }
}

TEST_CASE("strengths out of range and invalid samples are refused") {
  Sample sample = numbered(8, 8);
  Random random(Seed{16});
  Augmentation options;
  options.elastic_probability = 1.5f;
  const auto text = message_of<ArgumentError>([&] { augment(sample, options, 4, 4, random); });
  CHECK(contains(text, "elastic_probability is 1.5"));
  options = {};
  options.scaling = 1;
  CHECK_THROWS_AS(require_valid(options), ArgumentError);
  options = {};
  options.noise = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_AS(require_valid(options), ArgumentError);
  sample.image(1, 2, 0) = std::numeric_limits<float>::quiet_NaN();
  CHECK(contains(message_of<DataError>([&] { augment(sample, {}, 4, 4, random); }), "row 1, column 2"));
  sample = numbered(8, 8);
  sample.labels = make_labels(8, 9);
  CHECK_THROWS_AS(augment(sample, {}, 4, 4, random), DataError);
}
