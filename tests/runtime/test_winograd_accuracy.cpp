// SPDX-License-Identifier: MIT
// A network whose convolutions run as Winograd's, against the reference in double from the same weights: outputs and
// gradients within 1e-4. (Smooth, so that its gradients are continuous: a rectifier's derivative jumps at 0, and what
// rounding moves across it is as large with direct convolutions.)
#include <doctest/doctest.h>

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

using Winograd = cpu::Tbb<float, arithmetic::Winograd>;
using Double = cpu::Eigen<double>;
using P = Program<UNet<Classes<1>, Width<16>, Depth<2>, activation::GELU>, Image<3, 44, 52>>;

}  // namespace

TEST_CASE("Winograd: outputs and gradients of a network are within 1e-4 of the reference") {
  Model<P> model{Seed{5}};
  Model<P, double> twin = in_double(model);
  const RandomBatch batch = random_batch<P>(2, Seed{77});
  {
    Predictor<P, Double> reference{twin, 2};
    Predictor<P, Winograd> predictor{model, 2, Winograd{2}};
    const std::vector<double> expected = values_of(reference.predict(batch.image_view));
    CHECK(relative_distance(values_of(predictor.predict(batch.image_view)), expected) < 1e-4);
  }
  Trainer<P, BinaryCrossEntropy, Double, SGD> reference{twin, {}, {.batch = 2}};
  const double expected_loss = reference.evaluate_gradients(batch.image_view, batch.label_view);
  Trainer<P, BinaryCrossEntropy, Winograd, SGD> trainer{model, {}, {.batch = 2}, Winograd{2}};
  const double loss = trainer.evaluate_gradients(batch.image_view, batch.label_view);
  CHECK(loss == doctest::Approx(expected_loss).epsilon(1e-5));
  const double distance = relative_distance(trainer.gradients(), reference.gradients());
  CHECK(distance < 1e-4);
}
