// SPDX-License-Identifier: MIT
// Dropout behind a ReLU: its output tells the sign that the ReLU's gradient needs, so that the ReLU's is not kept.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "../graph/simulate_plan.hpp"
#include "../support/batch.hpp"
#include "ulna/backend/eigen/eigen.hpp"
#include "ulna/model/published_unets.hpp"
#include "ulna/model/unet_plus_plus.hpp"
#include "ulna/train/trainer.hpp"

using namespace ulna;
using namespace ulna::testing;

namespace {

// Dropout after every convolution, no norm. Keeping what ReLU gives too would take 374 MiB.
static_assert(TrainingProgram<Program<ZhouUNetPlusPlus<>, Image<3, 256, 256>>, BinaryCrossEntropy>::training_bytes(1) <
              300'000'000);

/// No value is kept in the forward pass that only a dropout reads there.
template <class P, class Loss>
void check_plan() {
  using Training = TrainingProgram<P, Loss>;
  CHECK(PlanSimulation(Training::compiled, 2).run() == "");
  const auto& graph = Training::compiled.graph;
  int witnesses = 0;
  for (const Node& n : graph.nodes) {
    if (n.op != Op::activation_gradient) continue;
    const int known = n.input[1];
    bool only_dropout = true;
    for (int i = 0; i < graph.loss; ++i)
      for (const int x : graph.nodes[i].input)
        if (x == known) only_dropout = only_dropout && graph.nodes[i].op == Op::dropout;
    CHECK_FALSE(only_dropout);
    witnesses += graph.nodes[known].op == Op::dropout ? 1 : 0;
  }
  CHECK(witnesses > 0);
}

/// d loss / d parameters along a random direction, against central differences: the draws of a step repeat.
template <class P>
void check_gradient() {
  Model<P, double> model{Seed{1}};
  Trainer<P, BinaryCrossEntropy, cpu::Eigen<double>> trainer{model, {}, {.batch = 2, .seed = Seed{2}}};
  const RandomBatch data = random_batch<P>(2, Seed{3});
  const auto loss = [&] { return trainer.evaluate_gradients(data.image_view, data.label_view); };
  loss();
  const std::vector<double> gradient(trainer.gradients().begin(), trainer.gradients().end());
  const std::vector<double> at(model.parameters().begin(), model.parameters().end());
  Random random{Seed{4}, 0};
  std::vector<double> direction(at.size());
  double expected = 0.0;
  for (std::size_t i = 0; i < at.size(); ++i) {
    direction[i] = static_cast<double>(random.normal());
    expected += gradient[i] * direction[i];
  }
  REQUIRE(std::abs(expected) > 1e-3);
  // A step may cross the kink of a ReLU or of a maximum; a wrong gradient agrees with no step.
  double best = 1e300;
  for (const double step : {1e-5, 1e-6, 1e-7}) {
    double side[2]{};
    for (const int sign : {0, 1}) {
      const auto v = model.mutable_parameters();
      for (std::size_t i = 0; i < at.size(); ++i) v[i] = at[i] + (sign ? step : -step) * direction[i];
      side[sign] = loss();
    }
    best = std::min(best, std::abs((side[1] - side[0]) / (2 * step) - expected));
  }
  CHECK_MESSAGE(best <= 1e-5 * std::abs(expected), "derivative " << expected << " differs by " << best);
}

using Plain = Program<ZhouUNet<Widths<3, 4>>, Image<1, 8, 12>>;
using Leaky = Program<ZhouUNet<Widths<3, 4>, activation::LeakyReLU<std::ratio<1, 5>>>, Image<1, 8, 12>>;

}  // namespace

TEST_CASE("plans keep dropout's output alone") {
  check_plan<Plain, BinaryCrossEntropy>();
  check_plan<Program<ZhouUNetPlusPlus<Width<4>, Depth<2>, DeepSupervision<>>, Image<1, 8, 8>>, BinaryCrossEntropy>();
}

TEST_CASE("gradients through ReLU and dropout") {
  check_gradient<Plain>();
  check_gradient<Leaky>();
}
