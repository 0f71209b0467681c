// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "ulna/metric/overlap.hpp"
#include "ulna/metric/score.hpp"
#include "ulna/random.hpp"

using namespace ulna::metric;
using ulna::LabelArray;

namespace {

LabelArray labels(int height, int width, const std::vector<int>& values) {
  auto out = ulna::make_labels(height, width);
  for (std::size_t i = 0; i < values.size(); ++i) out.data()[i] = static_cast<std::uint8_t>(values[i]);
  return out;
}

LabelArray random_labels(ulna::Random& random, int height, int width, int classes) {
  auto out = ulna::make_labels(height, width);
  for (std::size_t i = 0; i < out.size(); ++i) out.data()[i] = static_cast<std::uint8_t>(random.below(classes));
  return out;
}

/// A filled square of side 4 whose left column is `left`, on a 10 x 10 image.
LabelArray square(std::size_t left) {
  auto out = ulna::make_labels(10, 10);
  out.fill(0);
  for (std::size_t row = 3; row < 7; ++row) {
    for (std::size_t column = left; column < left + 4; ++column) out(row, column) = 1;
  }
  return out;
}

template <class Measure, class Aggregate = PerImageMean>
double single(const LabelArray& prediction, const LabelArray& truth) {
  Score<Measure, Aggregate> score;
  score.add(prediction, truth);
  return score.value();
}

}  // namespace

TEST_CASE("confusion counts of a small example") {
  const auto counts = confusion(labels(2, 3, {0, 1, 2, 2, 1, 0}), labels(2, 3, {0, 1, 1, 2, 0, 0}), 3);
  CHECK(counts[0] == Counts{2, 0, 1, 3});
  CHECK(counts[1] == Counts{1, 1, 1, 3});
  CHECK(counts[2] == Counts{1, 1, 0, 4});
  CHECK(PixelError::of(counts) == doctest::Approx(2.0 / 6));
}

TEST_CASE("a 4 x 4 square against itself shifted by one pixel") {
  CHECK(single<Dice<>>(square(3), square(2)) == 0.75);
  CHECK(single<IoU<>>(square(3), square(2)) == 0.6);
  CHECK(single<PixelError>(square(3), square(2)) == 0.08);
  CHECK(single<IoU<>>(square(3), square(3)) == 1);
}

TEST_CASE("J = D / (2 - D), and both are symmetric, on random label maps") {
  ulna::Random random(ulna::Seed{3});
  for (int round = 0; round < 200; ++round) {
    const int height = 1 + random.below(9), width = 1 + random.below(9);
    const auto a = random_labels(random, height, width, 2), b = random_labels(random, height, width, 2);
    const double d = single<Dice<empty::One>>(a, b), j = single<IoU<empty::One>>(a, b);
    CHECK(j == doctest::Approx(d / (2 - d)));
    CHECK(single<Dice<empty::One>>(b, a) == d);
    const auto counts = confusion(a, b, 2);
    CHECK(counts[0].true_positive == counts[1].true_negative);
    CHECK(counts[0].false_positive == counts[1].false_negative);
  }
}

TEST_CASE("the empty-mask conventions") {
  const auto none = labels(2, 2, {0, 0, 0, 0}), some = labels(2, 2, {0, 1, 0, 0});
  const auto check = [&]<class Policy>(Policy, double both, double truth_empty) {
    const auto same = [](double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); };
    const Counts nothing{0, 0, 0, 4}, alarm{0, 1, 0, 3}, missed{0, 0, 1, 3};
    CHECK(same(Dice<Policy>::of(nothing), both));
    CHECK(same(IoU<Policy>::of(nothing), both));
    CHECK(same(Dice<Policy>::of(alarm), truth_empty));
    CHECK(same(IoU<Policy>::of(alarm), truth_empty));
    CHECK(Dice<Policy>::of(missed) == 0);
    CHECK(IoU<Policy>::of(missed) == 0);
  };
  check(empty::Nan{}, NAN, 0);
  check(empty::One{}, 1, 0);
  check(empty::Zero{}, 0, 0);
  check(empty::MonaiIgnore{}, NAN, NAN);
  CHECK(std::isnan(single<IoU<empty::Nan>>(none, none)));
  CHECK(single<IoU<empty::MonaiIgnore>>(some, none) == 0);
  CHECK(std::isnan(single<IoU<empty::Nan>, Pooled>(none, none)));
  CHECK(single<IoU<empty::MonaiIgnore>, Pooled>(some, none) == 0);
}

TEST_CASE("aggregation over images") {
  const auto full = labels(2, 2, {1, 1, 1, 1}), corner = labels(2, 2, {1, 0, 0, 0}), none = labels(2, 2, {0, 0, 0, 0});
  const auto fill = [&](auto score) {
    score.add(corner, full);  // 1 of 4
    score.add(corner, corner);
    score.add(none, none);
    return score;
  };
  CHECK(fill(Score<IoU<empty::Nan>, PerImageMean>()).value() == doctest::Approx(1.25 / 2));
  CHECK(fill(Score<IoU<empty::One>, PerImageMean>()).value() == doctest::Approx(2.25 / 3));
  CHECK(fill(Score<IoU<empty::Zero>, PerImageMean>()).value() == doctest::Approx(1.25 / 3));
  CHECK(fill(Score<IoU<>, Pooled>()).value() == doctest::Approx(2.0 / 5));
  CHECK(fill(Score<Dice<>, Pooled>()).value() == doctest::Approx(4.0 / 7));
  CHECK(fill(Score<PixelError, PerImageMean>()).value() == doctest::Approx(0.25));
  CHECK(fill(Score<PixelError, Pooled>()).value() == doctest::Approx(0.25));
  CHECK(fill(Score<IoU<>, Pooled>()).value(0) == doctest::Approx(7.0 / 10));
  CHECK(fill(Score<IoU<>, PerClassMean>()).value(1) == doctest::Approx(1.25 / 2));
}

TEST_CASE("images first or classes first: a difference with missing classes") {
  const auto both = labels(1, 4, {1, 2, 0, 0}), only_one = labels(1, 4, {1, 0, 0, 0});
  Score<IoU<>, PerImageMean> per_image(3);
  Score<IoU<>, PerClassMean> per_class(3);
  per_image.add(labels(1, 4, {1, 0, 0, 0}), both);  // class 1: 1, class 2: 0
  per_class.add(labels(1, 4, {1, 0, 0, 0}), both);
  per_image.add(only_one, only_one);  // class 1: 1, class 2: none
  per_class.add(only_one, only_one);
  CHECK(per_image.value() == doctest::Approx(0.75));
  CHECK(per_class.value() == doctest::Approx(0.5));
}

TEST_CASE("a score says its own convention") {
  CHECK(Score<IoU<empty::One>, PerImageMean>::name() == "IoU, per-image mean, empty = 1");
  CHECK(Score<Dice<>, Pooled>::name() == "Dice, pooled, empty = NaN");
  CHECK(Score<Dice<empty::MonaiIgnore>, PerClassMean>::name() ==
        "Dice, per-class mean over images, empty = ignored (MONAI)");
  CHECK(Score<PixelError, Pooled>::name() == "pixel error, pooled");
}

TEST_CASE("what does not fit is refused") {
  Score<IoU<>> score;
  CHECK_THROWS_AS(score.value(), ulna::ArgumentError);
  CHECK_THROWS_WITH_AS(score.add(labels(2, 2, {0, 0, 0, 0}), labels(1, 4, {0, 0, 0, 0})),
                       "the prediction is 2 x 2, its truth 1 x 4; they must be of one size", ulna::DataError);
  CHECK_THROWS_WITH_AS(score.add(labels(1, 1, {0}), labels(1, 1, {2})),
                       "a pixel of the truth is of class 2; of 2 classes the largest is 1", ulna::DataError);
  CHECK(score.size() == 0);
  score.add(labels(1, 1, {1}), labels(1, 1, {1}));
  CHECK_THROWS_AS(score.value(2), ulna::ArgumentError);
}
