// SPDX-License-Identifier: MIT
// TransUNet: published parameter counts, counts by hand for other shapes, and what a run must show.
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <string_view>
#include <vector>

#include "../support/batch.hpp"
#include "ulna/backend/eigen/eigen.hpp"
#include "ulna/model/r2_unet.hpp"
#include "ulna/model/trans_unet.hpp"
#include "ulna/predict/predictor.hpp"
#include "ulna/train/trainer.hpp"

using namespace ulna;

namespace {

using B16 = Program<TransUNet<>, Image<3, 224, 224>>;
static_assert(B16::parameter_count == 105'277'081);
static_assert(B16::output_shape == Shape{9, 1, 224, 224});
static_assert(B16::alignment == 16 && !B16::halo.bounded);
static_assert(B16::inference_bytes(1) < 104'000'000);
using L16 = Program<TransUNetL16<>, Image<1, 224, 224>>;
static_assert(L16::parameter_count == 324'024'729);
// The largest graphs there are fit the compilers' limits on constant evaluation.
static_assert(TrainingProgram<B16, CrossEntropy>::training_bytes(1) > B16::inference_bytes(1));
static_assert(TrainingProgram<L16, CrossEntropy>::training_bytes(1) > L16::inference_bytes(1));

/// The ResNet has the stem's 7x7 and norm, then in each unit 1x1, 3x3, 1x1, three norms and a projection.
template <Option... Options>
using Small = TransUNet<Classes<2>, Hidden<12>, Layers<1>, Heads<3>, Mlp<10>, Units<1, 1, 1>, Width<4>, Groups<2>,
                        Bridge<6>, Decoder<8, 6, 4, 2>, Options...>;
template <Option... Options>
using SmallProgram = Program<Small<Options...>, Image<1, 32, 48>>;

constexpr std::int64_t bottleneck(std::int64_t in, std::int64_t out) {
  const std::int64_t middle = out / 4;
  return in * middle + 9 * middle * middle + middle * out + 4 * middle + 2 * out + in * out + 2 * out;
}
constexpr std::int64_t trunk = 49 * 3 * 4 + 8 + bottleneck(4, 16) + bottleneck(16, 32) + bottleneck(32, 64);
/// Norms, four matrices and two of the MLP, the last norm.
constexpr std::int64_t transformer = 2 * 24 + 4 * (12 * 12 + 12) + (12 * 10 + 10) + (10 * 12 + 12) + 24;
constexpr std::int64_t step(std::int64_t in, std::int64_t out) { return 9 * (in * out + out * out) + 4 * out; }
constexpr std::int64_t decoder(std::int64_t first, std::int64_t second, std::int64_t third) {
  return 9 * 12 * 6 + 12 + step(6 + first, 8) + step(8 + second, 6) + step(6 + third, 4) + step(4, 2) + 9 * 2 * 2 + 2;
}
constexpr std::int64_t hybrid = trunk + 64 * 12 + 12 + 2 * 3 * 12 + transformer;

static_assert(SmallProgram<>::parameter_count == hybrid + decoder(32, 16, 4));
static_assert(SmallProgram<Skips<3>>::parameter_count == hybrid + decoder(32, 16, 4));
static_assert(SmallProgram<Skips<2>>::parameter_count == hybrid + decoder(32, 16, 0));
static_assert(SmallProgram<Skips<1>>::parameter_count == hybrid + decoder(32, 0, 0));
static_assert(SmallProgram<Skips<0>>::parameter_count == hybrid + decoder(0, 0, 0));
static_assert(SmallProgram<>::output_shape == Shape{2, 1, 32, 48});

/// Patches of the image, repeated to three channels.
using ViT =
    TransUNet<Classes<2>, encoder::Patches<>, Hidden<12>, Layers<1>, Heads<3>, Mlp<10>, Bridge<6>, Decoder<8, 6, 4, 2>>;
using ViTProgram = Program<ViT, Image<1, 32, 48>>;
static_assert(ViTProgram::parameter_count == 256 * 3 * 12 + 12 + 2 * 3 * 12 + transformer + decoder(0, 0, 0));

std::int64_t parameters_in(const auto& graph, std::string_view module) {
  std::int64_t count = 0;
  for (const Parameter& p : graph.parameters)
    if (is_trainable(p.kind) && name_of(graph, p).starts_with(module)) count += p.size();
  return count;
}

/// The loss's derivative along a random direction over all parameters, against central differences in double. Dropout
/// is on: its draws are those of the step, so that they repeat.
template <class P>
void check_gradient() {
  constexpr int batch = 3;
  Model<P, double> model{Seed{4}};
  Random random{Seed{5}, 0};
  for (double& v : model.mutable_parameters()) v += 0.02 * static_cast<double>(random.normal());
  Trainer<P, CrossEntropy, cpu::Eigen<double>> trainer{model, {}, {.batch = batch}};
  const auto data = testing::random_batch<P>(batch, Seed{6});
  const auto loss = [&] { return trainer.evaluate_gradients(data.image_view, data.label_view); };
  REQUIRE(std::isfinite(loss()));
  const std::vector<double> gradient(trainer.gradients().begin(), trainer.gradients().end());
  for (const Parameter& p : model.graph().parameters) {
    if (!is_trainable(p.kind)) continue;
    double largest = 0.0;
    for (std::int64_t i = 0; i < p.size(); ++i)
      largest = std::max(largest, std::abs(gradient[static_cast<std::size_t>(p.offset + i)]));
    CHECK_MESSAGE(largest > 0.0, name_of(model.graph(), p) << " takes no part");
  }
  const std::vector<double> at(model.parameters().begin(), model.parameters().end());
  std::vector<double> direction(at.size());
  double expected = 0.0;
  for (std::size_t i = 0; i < at.size(); ++i) {
    direction[i] = static_cast<double>(random.normal());
    expected += gradient[i] * direction[i];
  }
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
  CHECK_MESSAGE(best <= 1e-5 * std::abs(expected) + 1e-7, "derivative " << expected << " differs by " << best);
}

}  // namespace

TEST_CASE("the parts of R50-ViT-B/16") {
  const auto& graph = B16::inference.graph;
  CHECK(parameters_in(graph, "trunk.") == 11'894'848);
  CHECK(parameters_in(graph, "patches.") + parameters_in(graph, "transformer.") == 85'993'728);
  CHECK(parameters_in(graph, "bridge.") + parameters_in(graph, "decoder.") + parameters_in(graph, "head.") ==
        7'388'505);
  CHECK(B16::summary().find("total: 105,277,081 parameters") != std::string::npos);
}

TEST_CASE("a map of tokens that is not square, two skips, dropout, a batch of three") {
  check_gradient<SmallProgram<Skips<2>>>();
}

TEST_CASE("patches of the image") { check_gradient<ViTProgram>(); }

TEST_CASE("two stages, odd widths, R2 blocks and attention gates in the decoder") {
  using Net = TransUNet<Classes<1>, Hidden<15>, Layers<1>, Heads<5>, Mlp<7>, Units<1, 2>, Width<3>, Groups<3>,
                        Bridge<5>, Decoder<5, 3, 3>, R2Blocks<Steps<1>>, gate::Popular<>, dropout::None>;
  using P = Program<Net, Image<2, 24, 8>>;
  static_assert(P::output_shape == Shape{1, 1, 24, 8});
  constexpr int batch = 2;
  Model<P> model{Seed{1}};
  Trainer<P, BinaryCrossEntropy, cpu::Eigen<float>> trainer{model, {.learning_rate = 1e-2f}, {.batch = batch}};
  const auto data = testing::random_batch<P>(batch, Seed{2});
  const double first = trainer.step(data.image_view, data.label_view).loss;
  double last = first;
  for (int i = 0; i < 30; ++i) last = trainer.step(data.image_view, data.label_view).loss;
  CHECK(last < 0.8 * first);
  Predictor<P, cpu::Eigen<float>> predictor{model, batch};
  predictor.predict(data.image_view);
  const auto attention = predictor.published("decoder[1]/gate/attention");
  CHECK(attention.shape == Shape{1, 1, 12, 4});
  for (std::ptrdiff_t p = 0; p < attention.pixels(); ++p)
    CHECK((*attention.pixel(0, p) > 0.0f && *attention.pixel(0, p) < 1.0f));
}

TEST_CASE("one channel is the same image three times") {
  using Net = Small<Skips<1>>;
  using Colour = Program<Net, Image<3, 16, 16>>;
  using Grey = Program<Net, Image<1, 16, 16>>;
  Model<Colour> model{Seed{8}};
  const auto data = testing::random_batch<Grey>(1, Seed{9});
  std::vector<float> repeated;
  for (const float v : data.images) repeated.insert(repeated.end(), 3, v);
  Predictor<Grey, cpu::Eigen<float>> grey{model};
  Predictor<Colour, cpu::Eigen<float>> colour{model};
  const auto a = grey.predict(data.image_view);
  const auto b = colour.predict({repeated, 1, 16, 16, 3});
  for (std::ptrdiff_t p = 0; p < a.pixels(); ++p)
    for (int c = 0; c < 2; ++c) CHECK(a.pixel(0, p)[c] == b.pixel(0, p)[c]);

  // What a predictor holds is what its type states, and scratch of its kernels.
  const auto held = static_cast<std::int64_t>(grey.bytes());
  CHECK(held >= Grey::inference_bytes(1));
  CHECK(held <= Grey::inference_bytes(1) + 300'000);
}
