// SPDX-License-Identifier: MIT
// Attention U-Nets: parameter counts of the popular code, both gates against plain formulas, attention maps read out,
// and runs of small networks.
#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "../support/batch.hpp"
#include "ulna/backend/eigen/eigen.hpp"
#include "ulna/backend/tbb/tbb.hpp"
#include "ulna/model/attention_unet.hpp"
#include "ulna/predict/predictor.hpp"
#include "ulna/train/trainer.hpp"

using namespace ulna;

namespace {

// --- parameters

template <class Net, int Channels, int Extent = 32>
constexpr std::int64_t parameters = Program<Net, Image<Channels, Extent, Extent>>::parameter_count;

static_assert(parameters<AttentionUNet<Classes<1>>, 3> == 34'878'573);  // AttU_Net of LeeJunHyun/Image_Segmentation
static_assert(parameters<AttentionUNet<Classes<1>, gate::None>, 3> == 34'527'041);  // its U_Net

/// What the gates of a network of depth 2 and width 4 add: skips of 4 and 8 channels, maps below of 8 and 16.
template <class Gate>
constexpr std::int64_t of_gates = parameters<AttentionUNet<Width<4>, Depth<2>, Gate>, 1> -
                                  parameters<AttentionUNet<Width<4>, Depth<2>, gate::None>, 1>;
/// Two 1x1 convolutions from `skip` channels to `inner` with their norms, one from `inner` to 1 with its.
constexpr int popular(int skip, int inner) { return 2 * (skip * inner + 3 * inner) + inner + 3; }
static_assert(of_gates<gate::Popular<>> == popular(4, 2) + popular(8, 4));
static_assert(of_gates<gate::Popular<gate::inner::Whole>> == popular(4, 4) + popular(8, 8));
static_assert(of_gates<gate::Popular<gate::inner::Channels<3>>> == popular(4, 3) + popular(8, 3));
/// theta 2x2 without bias, phi, psi, w with norm.
constexpr int grid(int skip, int below, int inner) {
  return 4 * skip * inner + (below * inner + inner) + (inner + 1) + (skip * skip + 3 * skip);
}
static_assert(of_gates<gate::Grid<>> == grid(8, 16, 8));  // the finest skip has no gate
static_assert(of_gates<gate::Grid<gate::inner::Half>> == grid(8, 16, 4));
static_assert(gate::inner::Half::of(1) == 1 && gate::inner::Half::of(7) == 3);

// Gates in any U-Net: valid convolutions crop the skip first; odd extents.
static_assert(Program<UNet<Width<4>, Depth<2>, padding::Valid, gate::Grid<>>, Image<1, 60, 44>>::output_shape ==
              Shape{2, 1, 20, 4});
static_assert(Program<UNet<Width<4>, Depth<2>, odd::Pad, gate::Popular<>>, Image<1, 37, 29>>::output_shape ==
              Shape{2, 1, 37, 29});
// A grid gate halves its skip. 37 is 18 at the gated level, 38 is 19.
constexpr auto odd_grid = ulna::detail::diagnose<UNet<Width<4>, Depth<2>, odd::Pad, gate::Grid<>>>({1, 1, 38, 36});
static_assert(odd_grid.rule == RuleKind::extent_must_divide && odd_grid.found == 19 && odd_grid.required == 2);
static_assert(!ulna::detail::diagnose<UNet<Width<4>, Depth<2>, odd::Pad, gate::Grid<>>>({1, 1, 37, 36}));

// --- gates against plain formulas

constexpr int height = 4, width = 6, pixels = height * width;

/// A gate between an image's first two channels, the skip, and its last two, what comes up; below is their mean over
/// 2x2 pixels.
template <class Gate>
struct Gated {
  static constexpr Value lower(Builder& b, Value x) {
    const Value up = op::slice(b, x, 2, 2);
    return Gate::lower(b, op::slice(b, x, 0, 2), up, AveragePool<2>::lower(b, up), 1);
  }
};

template <class Gate>
struct Fixture {
  using P = Program<Gated<Gate>, Image<4, height, width>>;
  Model<P, double> model;
  std::vector<float> images;

  Fixture() {
    Random random{Seed{8}};
    for (double& v : model.mutable_parameters()) v = static_cast<double>(random.uniform(-1.0f, 1.0f));
    for (double& v : model.mutable_state()) v = static_cast<double>(random.uniform(0.2f, 1.5f));
    for (int i = 0; i < 4 * pixels; ++i) images.push_back(random.normal());
  }
  double pixel(int y, int x, int channel) const {
    return static_cast<double>(images[static_cast<std::size_t>((y * width + x) * 4 + channel)]);
  }
  /// Element i of a parameter, in memory order [tap][in][out].
  double at(const std::string& name, int i) {
    for (const Parameter& p : model.graph().parameters)
      if (name_of(model.graph(), p) == "gate." + name) return model.values(p)[static_cast<std::size_t>(i)];
    throw ArgumentError("no parameter is called gate." + name);
  }
  /// Batch norm at inference.
  double normed(const std::string& name, int channel, double x) {
    return at(name + ".weight", channel) * (x - at(name + ".running_mean", channel)) /
               std::sqrt(at(name + ".running_var", channel) + 1e-5) +
           at(name + ".bias", channel);
  }
  /// Compares the gate's result and its attention with functions of (y, x), the result's of the channel, too.
  void check(auto&& attention, auto&& result) {
    Predictor<P, cpu::Eigen<double>> predictor{model};
    const auto found = predictor.predict({images, 1, height, width, 4});
    const auto map = predictor.published("gate/attention");
    REQUIRE(map.shape == Shape{1, 1, height, width});
    for (int y = 0; y < height; ++y)
      for (int x = 0; x < width; ++x) {
        const double a = attention(y, x);
        CHECK(map.pixel(0, y * width + x)[0] == doctest::Approx(a));
        for (int c = 0; c < 2; ++c) CHECK(found.pixel(0, y * width + x)[c] == doctest::Approx(result(y, x, c, a)));
      }
  }
};

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

}  // namespace

TEST_CASE("the popular gate") {
  Fixture<gate::Popular<gate::inner::Channels<3>>> f;
  const auto attention = [&](int y, int x) {
    double psi = f.at("psi_conv.bias", 0);
    for (int k = 0; k < 3; ++k) {
      double g = f.at("g_conv.bias", k), s = f.at("x_conv.bias", k);
      for (int c = 0; c < 2; ++c) {
        g += f.at("g_conv.weight", 3 * c + k) * f.pixel(y, x, 2 + c);
        s += f.at("x_conv.weight", 3 * c + k) * f.pixel(y, x, c);
      }
      psi += f.at("psi_conv.weight", k) * std::max(f.normed("g_norm", k, g) + f.normed("x_norm", k, s), 0.0);
    }
    return sigmoid(f.normed("psi_norm", 0, psi));
  };
  f.check(attention, [&](int y, int x, int c, double a) { return a * f.pixel(y, x, c); });
}

TEST_CASE("the grid gate") {
  Fixture<gate::Grid<gate::inner::Channels<3>>> f;
  const auto coarse = [&](int y, int x) {
    double psi = f.at("psi.bias", 0);
    for (int k = 0; k < 3; ++k) {
      double sum = f.at("phi.bias", k);
      for (int tap = 0; tap < 4; ++tap)
        for (int c = 0; c < 2; ++c) {
          const int row = 2 * y + tap / 2, column = 2 * x + tap % 2;
          sum += f.at("theta.weight", (tap * 2 + c) * 3 + k) * f.pixel(row, column, c);
          sum += f.at("phi.weight", 3 * c + k) * f.pixel(row, column, 2 + c) / 4.0;
        }
      psi += f.at("psi.weight", k) * std::max(sum, 0.0);
    }
    return sigmoid(psi);
  };
  // Along an axis, 3/4 of the coarse pixel that holds the fine one and 1/4 of the next, repeated at the border.
  const auto attention = [&](int y, int x) {
    const auto next = [](int fine, int count) { return std::clamp(fine / 2 + (fine % 2 == 0 ? -1 : 1), 0, count - 1); };
    const int v = next(y, height / 2), u = next(x, width / 2);
    return (9 * coarse(y / 2, x / 2) + 3 * coarse(v, x / 2) + 3 * coarse(y / 2, u) + coarse(v, u)) / 16.0;
  };
  f.check(attention, [&](int y, int x, int c, double a) {
    double w = f.at("w_conv.bias", c);
    for (int k = 0; k < 2; ++k) w += f.at("w_conv.weight", 2 * k + c) * a * f.pixel(y, x, k);
    return f.normed("w_norm", c, w);
  });
}

TEST_CASE("attention maps are read by name") {
  using P = Program<AttentionUNet<Width<4>, Depth<2>>, Image<3, 16, 24>>;
  Model<P> model{Seed{1}};
  const auto random = testing::random_batch<P>(2);
  Predictor<P, cpu::Tbb<float>> predictor{model, 2};
  predictor.predict(random.image_view);
  for (int level = 0; level < 2; ++level) {
    const auto map = predictor.published("decoder[" + std::to_string(level) + "]/gate/attention");
    CHECK(map.shape == Shape{1, 1, 16 >> level, 24 >> level});
    float least = 1.0f, most = 0.0f;
    for (int n = 0; n < 2; ++n)
      for (std::ptrdiff_t p = 0; p < map.pixels(); ++p) {
        least = std::min(least, map.pixel(n, p)[0]);
        most = std::max(most, map.pixel(n, p)[0]);
      }
    CHECK(least > 0.0f);
    CHECK(most < 1.0f);
    CHECK(least < most);
  }
  CHECK_THROWS_WITH_AS(predictor.published("decoder[2]/gate/attention"),
                       doctest::Contains("it publishes decoder[1]/gate/attention, decoder[0]/gate/attention"),
                       ArgumentError);
  CHECK(P::summary().find("AttentionUNet/decoder[1]/gate/psi_conv") != std::string::npos);
}

TEST_CASE("grid gates, odd widths, non-square, a batch of three, one class, interpolation") {
  using Net = AttentionUNet<Classes<1>, Widths<3, 5, 7, 9>, gate::Grid<>, up::Bilinear<false>>;
  using P = Program<Net, Image<2, 16, 24>>;
  Model<P> model{Seed{1}};
  const auto random = testing::random_batch<P>(3);
  Trainer<P, BinaryCrossEntropy, cpu::Tbb<float>> trainer{model, {.learning_rate = 1e-2}, {.batch = 3}};
  const double first = trainer.step(random.image_view, random.label_view).loss;
  for (const Parameter& p : model.graph().parameters) {
    if (!is_trainable(p.kind)) continue;
    float largest = 0.0f;
    for (const float g :
         trainer.gradients().subspan(static_cast<std::size_t>(p.offset), static_cast<std::size_t>(p.size())))
      largest = std::max(largest, std::abs(g));
    CHECK_MESSAGE(largest > 0.0f, name_of(model.graph(), p));
  }
  for (int i = 0; i < 40; ++i) trainer.step(random.image_view, random.label_view);
  CHECK(trainer.step(random.image_view, random.label_view).loss < 0.6 * first);
}
