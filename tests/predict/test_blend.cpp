// SPDX-License-Identifier: MIT
// Blended windows: where they lie, and that blending equal answers changes nothing.
#include <doctest/doctest.h>

#include <cmath>

#include "../data/temporary_folder.hpp"
#include "check_exact.hpp"
#include "ulna/backend/eigen/eigen.hpp"
#include "ulna/model/unet.hpp"
#include "ulna/predict/blend.hpp"

using namespace ulna;
using ulna::testing::contains;
using ulna::testing::message_of;
using ulna::testing::random_image;

namespace {

using B = cpu::Eigen<float>;
using Starts = std::vector<int>;

/// Every pixel lies in a window, windows lie inside and in order.
bool covers(const Starts& starts, int length, int tile) {
  int covered = 0;
  for (const int at : starts) {
    if (at < 0 || at > covered || (length >= tile && at + tile > length)) return false;
    covered = std::max(covered, at + tile);
  }
  return covered >= length;
}

}  // namespace

TEST_CASE("windows spread evenly, as nnU-Net's") {
  using windows::Spread;
  // ceil((n - tile) / (tile step)) + 1 windows at round(i (n - tile) / (count - 1))
  CHECK(Spread::starts(64, 64, 0.5) == Starts{0});
  CHECK(Spread::starts(10, 64, 0.5) == Starts{0});
  CHECK(Spread::starts(65, 64, 0.5) == Starts{0, 1});
  CHECK(Spread::starts(100, 64, 0.5) == Starts{0, 18, 36});
  CHECK(Spread::starts(512, 256, 0.5) == Starts{0, 128, 256});
  CHECK(Spread::starts(200, 64, 1.0) == Starts{0, 45, 91, 136});  // 45.33, 90.67, 136
  // 9 / 2 and 3 x 9 / 2 halve: numpy rounds to the even neighbour
  CHECK(Spread::starts(19, 10, 0.5) == Starts{0, 4, 9});
  CHECK(Spread::starts(13, 10, 0.2) == Starts{0, 2, 3});
  for (int length = 1; length <= 300; ++length)
    for (const double step : {0.25, 0.5, 0.75, 1.0}) CHECK(covers(Spread::starts(length, 48, step), length, 48));
}

TEST_CASE("windows at equal steps with the last one shifted, as MONAI's") {
  using windows::Shifted;
  CHECK(Shifted::starts(64, 64, 0.5) == Starts{0});
  CHECK(Shifted::starts(10, 64, 0.5) == Starts{0});
  CHECK(Shifted::starts(65, 64, 0.5) == Starts{0, 1});
  CHECK(Shifted::starts(100, 64, 0.5) == Starts{0, 32, 36});
  CHECK(Shifted::starts(200, 64, 0.75) == Starts{0, 48, 96, 136});
  CHECK(Shifted::starts(128, 64, 0.5) == Starts{0, 32, 64});
  for (int length = 1; length <= 300; ++length)
    for (const double step : {0.01, 0.25, 0.5, 0.75, 1.0}) CHECK(covers(Shifted::starts(length, 48, step), length, 48));
}

namespace {

template <class Windows>
void check_constant() {
  // All weights 0, biases given: the same logits everywhere.
  using P = Program<UNet<Classes<3>, Width<2>, Depth<1>, norm::Instance<>>, Image<1, 16, 12>>;
  Model<P> model;
  for (float& v : model.mutable_parameters()) v = 0.0f;
  for (const Parameter& p : model.graph().parameters)
    if (name_of(model.graph(), p) == "head.bias") {
      const float bias[] = {0.0f, std::log(2.0f), std::log(5.0f)};
      std::copy(bias, bias + 3, model.mutable_values(p).begin());
    }
  BlendedSegmenter<P, B, Windows> segmenter{model, {.step = 0.4}};
  for (const auto& [h, w] : {std::pair{16, 12}, {37, 41}, {5, 60}, {3, 2}}) {
    const ImageArray image = random_image(h, w, 1);
    const ProbabilityArray p = segmenter.probabilities({image.data(), 1, h, w, 1});
    REQUIRE(p.size() == static_cast<std::size_t>(3 * h * w));
    float worst = 0.0f;
    for (std::size_t i = 0; i < p.size(); ++i) {
      const float expected = i % 3 == 0 ? 0.125f : i % 3 == 1 ? 0.25f : 0.625f;
      worst = std::max(worst, std::abs(p.data()[i] - expected));
    }
    CHECK(worst < 1e-6f);
    const LabelArray labels = segmenter.labels({image.data(), 1, h, w, 1});
    CHECK(std::ranges::all_of(labels, [](std::uint8_t c) { return c == 2; }));
  }
}

}  // namespace

TEST_CASE("blending constant logits") {
  SUBCASE("spread") { check_constant<windows::Spread>(); }
  SUBCASE("shifted") { check_constant<windows::Shifted>(); }
}

TEST_CASE("a window's weight is a Gaussian with a floor") {
  // A network that answers its input, on an image that is 1 in the first window's own part and 0 elsewhere: the
  // blended probability tells the weights of two windows.
  using P = Program<Conv<1, 1>, Image<1, 8, 8>>;
  Model<P> model;
  model.mutable_parameters()[0] = 1.0f;
  model.mutable_parameters()[1] = 0.0f;
  BlendedSegmenter<P, B> segmenter{model, {.step = 0.5}};
  const ImageArray image = random_image(8, 12, 1);
  const ProbabilityArray p = segmenter.probabilities({image.data(), 1, 8, 12, 1});
  // Windows that see the same pixel answer the same here, so that blending is exact.
  for (std::size_t i = 0; i < p.size(); ++i)
    CHECK(std::abs(p.data()[i] - 1 / (1 + std::exp(-image.data()[i]))) < 1e-6f);
}

TEST_CASE("one window is the network's own answer") {
  using P = Program<UNet<Width<4>, Depth<1>, norm::Instance<>>, Image<1, 16, 16>>;
  Model<P> model{Seed{8}};
  const ImageArray image = random_image(16, 16, 1);
  BlendedSegmenter<P, B> segmenter{model};
  const ProbabilityArray p = segmenter.probabilities({image.data(), 1, 16, 16, 1});
  Predictor<P, B> predictor{model};
  const Tensor<float> logits = predictor.predict({image.data(), 1, 16, 16, 1});
  for (std::size_t i = 0; i < 256; ++i) {
    const float* x = logits.pixel(0, static_cast<std::ptrdiff_t>(i));
    CHECK(std::abs(p.data()[2 * i + 1] - 1 / (1 + std::exp(x[0] - x[1]))) < 1e-6f);
  }
  const LabelArray labels = segment_blended<B>(model, image);
  CHECK(labels.size() == 256);
}

TEST_CASE("what blending refuses") {
  using P = Program<Conv<2>, Image<1, 8, 8>>;
  Model<P> model;
  for (const double step : {0.0, -1.0, 1.5, std::nan("")})
    CHECK(contains(message_of<ArgumentError>([&] { BlendedSegmenter<P, B>(model, {.step = step}); }),
                   "must be in (0, 1]"));
  CHECK(contains(message_of<ArgumentError>([&] { BlendedSegmenter<P, B>(model, {.sigma = 0.0}); }), "sigma"));
  BlendedSegmenter<P, B> segmenter{model};
  ImageArray image = random_image(9, 9, 1);
  image(8, 8, 0) = INFINITY;
  CHECK(contains(message_of<DataError>([&] { segmenter.labels({image.data(), 1, 9, 9, 1}); }), "row 8, column 8"));
  CHECK(contains(message_of<DataError>([&] { segmenter.labels({image.data(), 1, 3, 9, 3}); }), "3 channels"));
}
