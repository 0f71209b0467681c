// SPDX-License-Identifier: MIT
// Segmenting: refusals, turns, and networks whose answer is known.
#include <doctest/doctest.h>

#include <limits>

#include "../data/temporary_folder.hpp"
#include "check_exact.hpp"
#include "ulna/backend/eigen/eigen.hpp"
#include "ulna/model/unet.hpp"

using namespace ulna;
using ulna::testing::contains;
using ulna::testing::message_of;
using ulna::testing::random_image;

namespace {

using B = cpu::Eigen<float>;
using Net = UNet<Width<4>, Depth<1>>;
using P = Program<Net, Image<1, 24, 24>>;

ImagesView view(const ImageArray& image) {
  return {image.data(), 1, static_cast<int>(image.shape()[0]), static_cast<int>(image.shape()[1]),
          static_cast<int>(image.shape()[2])};
}

/// A model whose convolution copies its input's channels.
template <class Q>
Model<Q> copying() {
  Model<Q> model;
  for (float& v : model.mutable_parameters()) v = 0.0f;
  for (const Parameter& p : model.graph().parameters) {
    if (p.kind != ParameterKind::weight) continue;
    const std::int64_t centre = p.kernel.volume() / 2;
    for (std::int64_t c = 0; c < p.out; ++c)
      model.mutable_values(p)[static_cast<std::size_t>((centre * p.in + c) * p.out + c)] = 1.0f;
  }
  return model;
}

}  // namespace

TEST_CASE("a network that copies its input segments to its input") {
  using Q = Program<Conv<2>, Image<2, 6, 8>>;
  Model<Q> model = copying<Q>();
  for (const bool dihedral : {false, true}) {
    Segmenter<Q, B> segmenter{model, {.small_image = SmallImage::mirror, .dihedral = dihedral}};
    for (const auto& [h, w] : {std::pair{6, 8}, {13, 17}, {40, 9}, {3, 3}, {1, 1}, {2, 30}}) {
      const ImageArray image = random_image(h, w, 2, Seed{static_cast<std::uint64_t>(h)});
      const ProbabilityArray logits = segmenter.logits(view(image));
      CHECK(std::equal(image.begin(), image.end(), logits.begin()));
      const ProbabilityArray p = segmenter.probabilities(view(image));
      const LabelArray labels = segmenter.labels(view(image));
      REQUIRE(labels.size() == image.size() / 2);
      for (std::size_t i = 0; i < labels.size(); ++i) {
        const float a = image.data()[2 * i];
        const float b = image.data()[2 * i + 1];
        CHECK(std::abs(p.data()[2 * i] - 1 / (1 + std::exp(b - a))) < 1e-6f);
        CHECK(std::abs(p.data()[2 * i] + p.data()[2 * i + 1] - 1) < 1e-6f);
        CHECK(labels.data()[i] == (b > a));
      }
    }
  }
}

TEST_CASE("one class: the probability of the foreground") {
  using Q = Program<Conv<1>, Image<1, 8, 8>>;
  Model<Q> model = copying<Q>();
  Segmenter<Q, B> segmenter{model};
  ImageArray image = random_image(11, 9, 1);
  image.data()[0] = 0.0f;  // one half exactly: background
  const ProbabilityArray p = segmenter.probabilities(view(image));
  const LabelArray labels = segmenter.labels(view(image));
  CHECK(p.shape()[2] == 1);
  for (std::size_t i = 0; i < p.size(); ++i) {
    CHECK(std::abs(p.data()[i] - 1 / (1 + std::exp(-image.data()[i]))) < 1e-6f);
    CHECK(labels.data()[i] == (image.data()[i] > 0));
  }
}

TEST_CASE("the mean over the dihedral group turns with the image") {
  Model<P> model{Seed{3}};
  Segmenter<P, B> segmenter{model, {.small_image = SmallImage::mirror, .dihedral = true}};
  Segmenter<P, B> upright{model, {.small_image = SmallImage::mirror}};
  constexpr int h = 30, w = 24;  // tiles of 24 with steps of 2 end at 30: nothing is mirrored
  const ImageArray image = random_image(h, w, 1);
  ImageArray transposed = make_image(w, h);
  ImageArray flipped = make_image(h, w);
  for (std::size_t y = 0; y < h; ++y)
    for (std::size_t x = 0; x < w; ++x) {
      transposed(x, y, 0) = image(y, x, 0);
      flipped(y, w - 1 - x, 0) = image(y, x, 0);
    }
  const ProbabilityArray p = segmenter.probabilities(view(image));
  const ProbabilityArray q = segmenter.probabilities(view(transposed));
  const ProbabilityArray r = segmenter.probabilities(view(flipped));
  const ProbabilityArray u = upright.probabilities(view(image));
  const ProbabilityArray f = upright.probabilities(view(flipped));
  float worst = 0.0f, apart = 0.0f;
  for (std::size_t y = 0; y < h; ++y)
    for (std::size_t x = 0; x < w; ++x) {
      worst = std::max({worst, std::abs(p(y, x, 1) - q(x, y, 1)), std::abs(p(y, x, 1) - r(y, w - 1 - x, 1))});
      apart = std::max(apart, std::abs(u(y, x, 1) - f(y, w - 1 - x, 1)));
    }
  CHECK(worst < 1e-6f);
  CHECK(apart > 1e-3f);  // the network alone does not
}

TEST_CASE("what is refused") {
  Model<P> model;
  Segmenter<P, B> segmenter{model};
  const auto refusal = [&](const ImagesView& image) { return message_of<DataError>([&] { segmenter.labels(image); }); };
  const ImageArray small = random_image(23, 40, 1);
  CHECK(refusal(view(small)) ==
        "segment: the image is 23 x 40, smaller than one tile of 24 x 24; use a smaller tile, or SmallImage::mirror "
        "to extend the image by mirroring");
  CHECK(refusal(view(random_image(24, 24, 3))) == "segment: found an image of 3 channels, the network takes 1");
  ImageArray bad = random_image(30, 40, 1);
  bad(17, 5, 0) = std::numeric_limits<float>::quiet_NaN();
  CHECK(contains(refusal(view(bad)), "row 17, column 5, channel 0; every value must be finite"));
  CHECK(contains(message_of<DataError>([&] { segmenter.logits(view(bad)); }), "row 17, column 5"));
  CHECK(contains(refusal({bad.data(), 1, 0, 40, 1}), "the image is empty"));
  CHECK(contains(refusal({bad.data(), 2, 24, 24, 1}), "one image"));

  // A tile no larger than two rims can hold an image, but not be joined to another.
  using Tight = Program<Net, Image<1, 16, 16>>;
  Segmenter<Tight, B> tight{model};
  CHECK_NOTHROW(tight.labels(view(random_image(16, 16, 1))));
  const std::string said = message_of<DataError>([&] { tight.labels(view(random_image(16, 40, 1))); });
  CHECK_MESSAGE(contains(said, "the network's halo is 8 pixels on each side; use tiles of at least 18"), said);
}

TEST_CASE("segment chooses a tile by itself") {
  Model<P> model{Seed{4}};
  const ImageArray image = random_image(70, 50, 1);
  const LabelArray small = segment<B, 32>(model, image);
  const LabelArray usual = segment<B>(model, image);
  CHECK(small.shape()[0] == 70);
  CHECK(small.shape()[1] == 50);
  CHECK(usual.shape() == small.shape());
}
