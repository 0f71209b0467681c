// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>

#include <limits>
#include <vector>

#include "temporary_folder.hpp"
#include "ulna/data/image.hpp"
#include "ulna/data/sample.hpp"

using namespace ulna;
using ulna::testing::contains;
using ulna::testing::message_of;

TEST_CASE("image_from a span keeps row-major order, channels innermost") {
  const std::vector<float> values = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
  const ImageArray image = image_from(values, 2, 3, 2);
  CHECK(image.shape(0) == 2);
  CHECK(image.shape(1) == 3);
  CHECK(image.shape(2) == 2);
  CHECK(image(1, 2, 0) == 10);
  CHECK(image(0, 1, 1) == 3);
}

TEST_CASE("image_from refuses extents that do not fit") {
  const std::vector<float> values(12);
  const auto text = message_of<DataError>([&] { image_from(values, 3, 3); });
  CHECK(contains(text, "12 values"));
  CHECK(contains(text, "3 x 3 x 1 are 9"));
  CHECK_THROWS_AS(image_from(values, 0, 12), DataError);
  CHECK_THROWS_AS(image_from(values, -3, -4), DataError);
  CHECK_THROWS_AS(image_from(Eigen::MatrixXf(0, 4)), DataError);
}

TEST_CASE("image_from an Eigen expression: rows are rows, in either storage order") {
  Eigen::Matrix<double, 2, 3> matrix;
  matrix << 1, 2, 3, 4, 5, 6;
  const ImageArray image = image_from(matrix * 2);
  CHECK(image.shape(0) == 2);
  CHECK(image.shape(1) == 3);
  CHECK(image(0, 2, 0) == 6);
  CHECK(image(1, 0, 0) == 8);
  const std::vector<float> memory = {1, 2, 3, 4, 5, 6};
  using RowMajor = Eigen::Matrix<float, 2, 3, Eigen::RowMajor>;
  CHECK(image_from(Eigen::Map<const RowMajor>(memory.data()))(1, 0, 0) == 4);
}

TEST_CASE("labels_from takes whole numbers 0..255 only") {
  Eigen::Matrix2i matrix;
  matrix << 0, 1, 2, 255;
  CHECK(labels_from(matrix)(1, 1) == 255);
  matrix(1, 0) = 256;
  CHECK(contains(message_of<DataError>([&] { labels_from(matrix); }), "row 1, column 0"));
  Eigen::Matrix2f fractions;
  fractions << 0, 0.5f, 1, 1;
  CHECK_THROWS_AS(labels_from(fractions), DataError);
  const std::vector<std::uint8_t> values = {1, 2};
  CHECK(labels_from(values, 1, 2)(0, 1) == 2);
  CHECK_THROWS_AS(labels_from(values, 2, 2), DataError);
}

TEST_CASE("require_finite names image, pixel and value") {
  ImageArray image = image_from(std::vector<float>(24, 1.0f), 3, 4, 2);
  CHECK_NOTHROW(require_finite(image, "a"));
  image(2, 1, 1) = std::numeric_limits<float>::quiet_NaN();
  const auto text = message_of<DataError>([&] { require_finite(image, "a.png"); });
  CHECK(contains(text, "'a.png'"));
  CHECK(contains(text, "row 2, column 1, channel 1"));
  CHECK(contains(text, "nan"));
  image(0, 3, 0) = -std::numeric_limits<float>::infinity();
  CHECK(contains(message_of<DataError>([&] { require_finite(image, "a"); }), "row 0, column 3, channel 0"));
}

TEST_CASE("require_valid compares the extents of image, labels and weights") {
  Sample sample{"a", image_from(std::vector<float>(12), 3, 4), make_labels(3, 4), {}};
  CHECK_NOTHROW(require_valid(sample));
  sample.weights = detail::make_array<WeightArray>(4, 3);
  CHECK(contains(message_of<DataError>([&] { require_valid(sample); }), "weight map 4 x 3"));
  sample.weights = {};
  sample.labels = make_labels(3, 5);
  CHECK(contains(message_of<DataError>([&] { require_valid(sample); }), "3 x 5"));
}
