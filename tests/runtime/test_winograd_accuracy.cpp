// SPDX-License-Identifier: MIT
// A network whose convolutions run as Winograd's, against the reference in double from the same weights: outputs and
// gradients within 1e-4. (Smooth, so that its gradients are continuous: a rectifier's derivative jumps at 0, and what
// rounding moves across it is as large with direct convolutions.)
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "../support/batch.hpp"
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

/// Distance between two vectors as a share of the length of the second.
double relative_distance(const auto& found, const auto& expected) {
  REQUIRE(found.size() == expected.size());
  double difference = 0, length = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const double d = static_cast<double>(found[i]) - expected[i];
    difference += d * d;
    length += expected[i] * expected[i];
  }
  return std::sqrt(difference / length);
}

template <class T>
std::vector<double> values_of(const Tensor<T>& t) {
  std::vector<double> all;
  for (int n = 0; n < t.batch; ++n)
    for (std::ptrdiff_t p = 0; p < t.pixels(); ++p)
      for (int c = 0; c < t.shape.channels; ++c) all.push_back(static_cast<double>(t.pixel(n, p)[c]));
  return all;
}

}  // namespace

TEST_CASE("Winograd: outputs and gradients of a network are within 1e-4 of the reference") {
  Model<P> model{Seed{5}};
  Model<P, double> twin;
  std::ranges::copy(model.parameters(), twin.mutable_parameters().begin());
  std::ranges::copy(model.state(), twin.mutable_state().begin());
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
