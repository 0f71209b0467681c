// SPDX-License-Identifier: MIT
// What is refused at the door of Trainer and Predictor, and how that is said.
#include <doctest/doctest.h>

#include <limits>
#include <xtensor/xtensor.hpp>

#include "../support/batch.hpp"
#include "ulna/backend/eigen/eigen.hpp"
#include "ulna/model/unet.hpp"
#include "ulna/predict/predictor.hpp"
#include "ulna/train/trainer.hpp"

using namespace ulna;
using namespace ulna::testing;

namespace {

using Net = UNet<Classes<3>, Width<2>, Depth<1>>;
using P = Program<Net, Image<2, 8, 6>>;
using B = cpu::Eigen<float>;
using WeightedTrainer = Trainer<P, WeightedCrossEntropy, B>;

}  // namespace

TEST_CASE("batches that do not fit are refused and change nothing") {
  Model<P> model{Seed{1}};
  WeightedTrainer trainer{model, {}, {.batch = 2}};
  RandomBatch good = random_batch<P>(2);
  const std::uint64_t before = model.hash();
  const auto refusal = [&](const ImagesView& x, const LabelsView& y, const ImagesView& w = {}) {
    return message_of<DataError>([&] { trainer.step(x, y, w); });
  };
  const float* x = good.images.data();
  const std::uint8_t* y = good.labels.data();
  const float* w = good.weights.data();

  CHECK(refusal({x, 2, 6, 8, 2}, good.label_view) ==
        "images: found 6 x 8 x 2 (height x width x channels), the network was compiled for 8 x 6 x 2");
  CHECK(refusal({x, 2, 8, 6, 1}, good.label_view) ==
        "images: found 8 x 6 x 1 (height x width x channels), the network was compiled for 8 x 6 x 2");
  CHECK(refusal(good.image_view, {y, 2, 8, 5}) ==
        "labels: found 8 x 5 x 1 (height x width x channels), the network was compiled for 8 x 6 x 1");
  CHECK(refusal({x, 3, 8, 6, 2}, {y, 3, 8, 6}) == "images: found a batch of 3, this object was made for 1 to 2");
  CHECK(refusal({x, 0, 8, 6, 2}, {y, 0, 8, 6}) == "images: found a batch of 0, this object was made for 1 to 2");
  CHECK(refusal(good.image_view, {y, 1, 8, 6}) == "batch: found 2 images and 1 label maps");
  CHECK(refusal(good.image_view, good.label_view, {w, 2, 6, 8}) ==
        "pixel weights: found 6 x 8 x 1 (height x width x channels), the network was compiled for 8 x 6 x 1");
  CHECK(contains(refusal(good.image_view, good.label_view, {w, 1, 8, 6}), "2 images and 1 weight maps"));

  // Sample 1, row 3, column 4, channel 1.
  const std::size_t at = ((1 * 8 + 3) * 6 + 4) * 2 + 1;
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    RandomBatch batch = good;
    batch.images[at] = bad;
    const std::string said = refusal({batch.images.data(), 2, 8, 6, 2}, good.label_view);
    CHECK_MESSAGE(contains(said, " at sample 1, row 3, column 4, channel 1; every value must be finite"), said);
    CHECK(said.starts_with("images: found "));
  }
  {
    RandomBatch batch = good;
    batch.labels[(1 * 8 + 7) * 6 + 5] = 3;
    CHECK(refusal(good.image_view, {batch.labels.data(), 2, 8, 6}) ==
          "labels: found class 3 at sample 1, row 7, column 5, channel 0; the network has classes 0 to 2");
    batch.labels[2] = 255;
    CHECK(contains(refusal(good.image_view, {batch.labels.data(), 2, 8, 6}),
                   "found class 255 at sample 0, row 0, column 2"));
  }
  {
    RandomBatch batch = good;
    batch.weights[7] = std::numeric_limits<float>::quiet_NaN();
    CHECK(contains(refusal(good.image_view, good.label_view, {batch.weights.data(), 2, 8, 6}),
                   "at sample 0, row 1, column 1"));
    batch.weights[7] = -0.5f;
    CHECK(contains(refusal(good.image_view, good.label_view, {batch.weights.data(), 2, 8, 6}),
                   "sample 0, row 1, column 1"));
  }

  CHECK(model.hash() == before);
  CHECK(trainer.steps() == 0);
  CHECK(trainer.step(good.image_view, good.label_view, good.weight_view).step == 1);
  CHECK(model.hash() != before);
}

TEST_CASE("a refused batch leaves no trace in the next step") {
  RandomBatch good = random_batch<P>(2);
  RandomBatch bad = good;
  bad.labels.back() = 200;
  Model<P> a{Seed{1}};
  Model<P> b{Seed{1}};
  WeightedTrainer clean{a, {}, {.batch = 2}};
  WeightedTrainer disturbed{b, {}, {.batch = 2}};
  CHECK_THROWS_AS(disturbed.step(bad.image_view, {bad.labels.data(), 2, 8, 6}, bad.weight_view), DataError);
  clean.step(good.image_view, good.label_view, good.weight_view);
  disturbed.step(good.image_view, good.label_view, good.weight_view);
  CHECK(a.hash() == b.hash());
}

TEST_CASE("options of a trainer") {
  Model<P> model;
  const auto refusal = [&](TrainerOptions options) {
    return message_of<ArgumentError>([&] { WeightedTrainer trainer(model, {}, std::move(options)); });
  };
  CHECK(contains(refusal({.batch = 0}), "batch is 0, must be at least 1"));
  CHECK(contains(refusal({.batch = -3}), "batch is -3, must be at least 1"));
  CHECK(contains(refusal({.class_weights = {1, 2}}), "found 2 class weights for 3 classes"));
  CHECK(contains(refusal({.class_weights = {1, -2, 1}}), "class weight 1 is -2"));
  CHECK(contains(message_of<ArgumentError>([&] {
                   Trainer<P, CrossEntropy, B> trainer(model, {}, {.class_weights = {1, 1, 1}});
                 }),
                 "class_weights need a weighted loss"));
}

TEST_CASE("the predictor refuses what does not fit") {
  Model<P> model;
  Predictor<P, B> predictor{model, 2};
  RandomBatch good = random_batch<P>(2);
  CHECK(message_of<DataError>([&] {
          predictor.predict({good.images.data(), 2, 8, 8, 2});
        }) == "images: found 8 x 8 x 2 (height x width x channels), the network was compiled for 8 x 6 x 2");
  CHECK(contains(message_of<DataError>([&] {
                   predictor.predict({good.images.data(), 3, 8, 6, 2});
                 }),
                 "found a batch of 3, this object was made for 1 to 2"));
  good.images[0] = std::numeric_limits<float>::infinity();
  CHECK(contains(message_of<DataError>([&] {
                   predictor.predict({good.images.data(), 2, 8, 6, 2});
                 }),
                 "sample 0, row 0, column 0, channel 0"));
  CHECK(contains(message_of<ArgumentError>([&] { Predictor<P, B>(model, 0); }), "batch is 0, must be at least 1"));
}

TEST_CASE("arrays and spans are batches") {
  const std::vector<float> values(2 * 8 * 6 * 2, 0.5f);
  CHECK(message_of<DataError>([&] { ImagesView(std::span<const float>(values), 2, 8, 6, 1); }) ==
        "batch: the span holds 192 values, 2 x 8 x 6 x 1 needs 96");
  CHECK(ImagesView(std::span<const float>(values), 2, 8, 6, 2).size() == values.size());

  const xt::xtensor<float, 4> images = xt::xtensor<float, 4>::from_shape({2, 8, 6, 2});
  const ImagesView view = images;
  CHECK(view.batch == 2);
  CHECK(view.height == 8);
  CHECK(view.width == 6);
  CHECK(view.channels == 2);
  const LabelsView labels = xt::xtensor<std::uint8_t, 3>::from_shape({2, 8, 6});
  CHECK(labels.channels == 1);
  const xt::xtensor<float, 2> flat = xt::xtensor<float, 2>::from_shape({8, 6});
  CHECK(message_of<DataError>([&] { (void)ImagesView(flat); }) ==
        "batch: the array has 2 axes; give (sample, row, column) or (sample, row, column, channel)");
}

TEST_CASE("smaller batches give what they would give alone") {
  Model<P> model{Seed{3}};
  const RandomBatch batch = random_batch<P>(3);
  Predictor<P, B> three{model, 3};
  const Tensor<float> all = three.predict(batch.image_view);
  const std::vector<float> whole(all.data, all.data + 3 * P::output_shape.size());
  for (int n = 0; n < 3; ++n) {
    const Tensor<float> one = three.predict({batch.images.data() + n * P::input_shape.size(), 1, 8, 6, 2});
    for (std::int64_t i = 0; i < P::output_shape.size(); ++i)
      REQUIRE(one.data[i] == whole[static_cast<std::size_t>(n * P::output_shape.size() + i)]);
  }
}

TEST_CASE("a predictor follows its model") {
  Model<P> model{Seed{3}};
  const RandomBatch batch = random_batch<P>(2);
  Predictor<P, B> kept{model, 2};
  Trainer<P, CrossEntropy, B> trainer{model, {}, {.batch = 2}};
  const auto agrees = [&] {
    Predictor<P, B> fresh{model, 2};
    const Tensor<float> a = kept.predict(batch.image_view);
    const Tensor<float> b = fresh.predict(batch.image_view);
    return std::equal(a.data, a.data + 2 * P::output_shape.size(), b.data);
  };
  CHECK(agrees());
  trainer.step(batch.image_view, batch.label_view);
  CHECK(agrees());
  trainer.evaluate_gradients(batch.image_view, batch.label_view);  // moves the running statistics
  CHECK(agrees());
  model.initialize(Seed{4}, Initialization::glorot_uniform);
  CHECK(agrees());
}
