// SPDX-License-Identifier: MIT
// Whole networks on activations of bf16 against the reference in double, from the same float weights.
#include <doctest/doctest.h>
#include <oneapi/tbb/global_control.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "../support/batch.hpp"
#include "../support/in_double.hpp"
#include "ulna/backend/eigen/eigen.hpp"
#include "ulna/backend/tbb/tbb.hpp"
#include "ulna/model/unet.hpp"
#include "ulna/predict/segment.hpp"
#include "ulna/train/trainer.hpp"

using namespace ulna;
using namespace ulna::testing;

namespace {

using Bf16 = cpu::Tbb<bf16>;
using Direct = cpu::Tbb<bf16, arithmetic::Direct>;
using Double = cpu::Eigen<double>;

/// Lets oneTBB use four threads on a machine of fewer.
const tbb::global_control four_threads(tbb::global_control::max_allowed_parallelism, 4);

/// Extents and channels that no vector width divides, except where convolutions have 24 and 48 channels.
using P = Program<UNet<Classes<3>, Width<24>, Depth<2>, Dropout<>>, Image<3, 44, 52>>;

/// A model whose running statistics have seen some batches.
Model<P> trained(int steps) {
  Model<P> model{Seed{5}};
  Trainer<P, DiceCrossEntropy, Bf16, SGD> trainer{model, {.learning_rate = 0.02}, {.batch = 3}, Bf16{2}};
  for (int i = 0; i < steps; ++i) {
    const RandomBatch batch = random_batch<P>(3, Seed{static_cast<std::uint64_t>(i)});
    trainer.step(batch.image_view, batch.label_view);
  }
  return model;
}

}  // namespace

TEST_CASE("inference in bf16 is within 2e-2 of the reference, and the same bits on any number of threads") {
  Model<P> model = trained(12);
  Model<P, double> twin = in_double(model);
  const RandomBatch batch = random_batch<P>(2, Seed{77});
  Predictor<P, Double> reference{twin, 2};
  const std::vector<double> expected = values_of(reference.predict(batch.image_view));
  Predictor<P, Bf16> predictor{model, 2, Bf16{1}};
  const std::vector<double> found = values_of(predictor.predict(batch.image_view));
  CHECK(relative_distance(found, expected) < 2e-2);
  double worst = 0, largest = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    worst = std::max(worst, std::abs(found[i] - expected[i]));
    largest = std::max(largest, std::abs(expected[i]));
  }
  CHECK(worst / largest < 2e-2);
  CHECK(predictor.bytes() < 0.65 * static_cast<double>(Predictor<P, cpu::Tbb<float>>(model, 2).bytes()));
  for (const int threads : {2, 4}) {
    Predictor<P, Bf16> several{model, 2, Bf16{threads}};
    CHECK(values_of(several.predict(batch.image_view)) == found);
  }
}

TEST_CASE_TEMPLATE("gradients in bf16 of a smooth network are within 2e-2 of the reference", Backend, Bf16, Direct) {
  using Smooth = Program<UNet<Classes<1>, Width<20>, Depth<1>, norm::Group<4>, activation::Sigmoid, up::BilinearConv<>>,
                         Image<2, 28, 36>>;
  Model<Smooth> model{Seed{5}};
  Model<Smooth, double> twin = in_double(model);
  const RandomBatch batch = random_batch<Smooth>(3, Seed{78});
  Trainer<Smooth, BinaryCrossEntropy, Double, SGD> reference{twin, {}, {.batch = 3}};
  const double expected_loss = reference.evaluate_gradients(batch.image_view, batch.label_view);
  Trainer<Smooth, BinaryCrossEntropy, Backend, SGD> trainer{model, {}, {.batch = 3}, Backend{2}};
  const double loss = trainer.evaluate_gradients(batch.image_view, batch.label_view);
  CHECK(loss == doctest::Approx(expected_loss).epsilon(2e-3));
  CHECK(relative_distance(trainer.gradients(), reference.gradients()) < 2e-2);
}

// A rectifier's derivative jumps at 0. Rounding moves a few of a thousand values across it, in every layer, and each
// takes its whole gradient with it: the square root of that share is the distance. The direction must hold.
TEST_CASE("gradients in bf16 of a network of rectifiers point where the reference points") {
  Model<P> model = trained(12);
  Model<P, double> twin = in_double(model);
  const RandomBatch batch = random_batch<P>(3, Seed{78});
  Trainer<P, DiceCrossEntropy, Double, SGD> reference{twin, {}, {.batch = 3}};
  const double expected_loss = reference.evaluate_gradients(batch.image_view, batch.label_view);
  Trainer<P, DiceCrossEntropy, Bf16, SGD> trainer{model, {}, {.batch = 3}, Bf16{2}};
  const double loss = trainer.evaluate_gradients(batch.image_view, batch.label_view);
  double product = 0, found = 0, expected = 0;
  for (std::size_t i = 0; i < reference.gradients().size(); ++i) {
    const double a = static_cast<double>(trainer.gradients()[i]);
    const double b = reference.gradients()[i];
    product += a * b;
    found += a * a;
    expected += b * b;
  }
  CHECK(loss == doctest::Approx(expected_loss).epsilon(2e-3));
  CHECK(product / std::sqrt(found * expected) > 0.95);
  CHECK(relative_distance(model.state(), twin.state()) < 2e-3);
}

TEST_CASE("training in bf16 learns what training in float learns, with the same bits on any number of threads") {
  const auto losses = []<class B>(B backend) {
    Model<P> model{Seed{1}};
    Trainer<P, DiceCrossEntropy, B, AdamW> trainer{
        model, {.learning_rate = 3e-3}, {.batch = 3, .clip_norm = 0.5, .seed = Seed{2}}, backend};
    std::vector<double> all;
    for (int i = 0; i < 20; ++i) {
      const RandomBatch batch = random_batch<P>(1 + i % 3, Seed{static_cast<std::uint64_t>(i)});
      all.push_back(trainer.step(batch.image_view, batch.label_view).loss);
    }
    all.push_back(static_cast<double>(model.hash()));
    return all;
  };
  const std::vector<double> one = losses(Bf16{1});
  CHECK(one == losses(Bf16{2}));
  CHECK(one == losses(Bf16{4}));
  const std::vector<double> in_float = losses(cpu::Tbb<float>{2});
  const auto last = [](const std::vector<double>& all) { return (all[17] + all[18] + all[19]) / 3; };
  CHECK(one[0] == doctest::Approx(in_float[0]).epsilon(2e-3));
  CHECK(last(one) < 0.8 * one[0]);
  CHECK(last(one) == doctest::Approx(last(in_float)).epsilon(0.05));
}
