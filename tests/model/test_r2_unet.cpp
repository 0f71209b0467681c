// SPDX-License-Identifier: MIT
// R2U-Nets: parameter counts as published or as the code gives them, recurrence against plain loops, what running
// statistics of each step are for, and runs of small networks.
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <vector>

#include "../support/batch.hpp"
#include "ulna/backend/eigen/eigen.hpp"
#include "ulna/model/r2_unet.hpp"
#include "ulna/predict/predictor.hpp"
#include "ulna/train/trainer.hpp"

using namespace ulna;

namespace {

// --- parameters

template <class Net, int Channels, int Extent = 32>
constexpr std::int64_t parameters = Program<Net, Image<Channels, Extent, Extent>>::parameter_count;

using Shared = R2Blocks<recurrent::SharedStatistics>;
using Separate = R2Blocks<recurrent::SeparateKernels>;

// LeeJunHyun/Image_Segmentation: R2U_Net and R2AttU_Net, for every t.
static_assert(parameters<R2UNet<Classes<1>, Shared>, 3> == 39'091'393);
static_assert(parameters<R2UNet<Classes<1>>, 3> == 39'091'393);
static_assert(parameters<R2UNet<Classes<1>, R2Blocks<Steps<3>>>, 3> == 39'091'393);
static_assert(parameters<R2AttUNet<Classes<1>, Shared>, 3> == 39'442'925);
// The paper's formulas: no norm, transposed convolutions, separate kernels; and the same with shared ones.
template <class... Options>
using Paper = R2UNet<Options..., norm::None, up::Transposed>;
static_assert(parameters<Paper<Separate>, 1> == 67'004'162);
static_assert(parameters<Paper<>, 1> == 35'596'034);
// 16 to 128 channels: the paper says 1.037 M, and that recurrence adds nothing to the U-Net.
template <class... Options>
using Slim = Paper<Options..., Classes<1>, Width<16>, Depth<3>>;
static_assert(parameters<Slim<Separate>, 1> == 1'042'609);
static_assert(parameters<Slim<>, 1> == 554'161);
static_assert(parameters<UNet<Classes<1>, Width<16>, Depth<3>, norm::None>, 1> == 481'745);
// Its ResU-Net and RU-Net have the parameters of the shared form: neither a shortcut nor a step has any.
static_assert(parameters<Slim<R2Blocks<Steps<0>>>, 1> == 554'161);
static_assert(parameters<Slim<R2Blocks<shortcut::None>>, 1> == 554'161);
static_assert(parameters<Slim<R2Blocks<Steps<0>, recurrent::SeparateKernels>>, 1> == 554'161);

// Running statistics: 2 numbers a channel for each of 2 norms a block, t + 1 times, and for the norm of each up block.
template <class... Options>
constexpr std::int64_t state = Program<R2UNet<Width<4>, Depth<1>, Options...>, Image<1, 8, 8>>::state_count;
static_assert(state<Shared> == 2 * (2 * (4 + 8 + 4) + 4));
static_assert(state<> == 2 * (3 * 2 * (4 + 8 + 4) + 4));
static_assert(state<R2Blocks<Steps<3>>> == 2 * (4 * 2 * (4 + 8 + 4) + 4));
static_assert(state<R2Blocks<Steps<0>>> == state<Shared>);
static_assert(state<norm::Instance<>> == 0);

// Every step costs the same. With separate kernels the feed-forward convolution is not among it.
template <class... Options>
constexpr std::int64_t macs = Program<R2UNet<Width<8>, norm::None, Options...>, Image<1, 32, 32>>::macs;
static_assert(macs<R2Blocks<Steps<3>>> - macs<> == macs<> - macs<R2Blocks<Steps<1>>>);
static_assert(macs<Separate> == macs<>);
static_assert(macs<R2Blocks<Steps<3>>> > macs<>);

// Valid convolutions eat 2 (t + 1) pixels in a recurrent convolution, twice that in a block: 92, 84, 42, 34, 68, 60.
template <class... Options>
constexpr Shape shape =
    Program<UNet<Classes<3>, Width<4>, padding::Valid, Options...>, Image<1, 92, 108>>::output_shape;
static_assert(shape<Depth<1>, R2Blocks<Steps<1>>> == Shape{3, 1, 60, 76});
static_assert(shape<Depth<1>, R2Blocks<Steps<1>, recurrent::SeparateKernels>, gate::Popular<>> == Shape{3, 1, 60, 76});
// Any block in any U-Net: R2 blocks under mirrored borders, narrow decoders, odd extents, transposed convolutions.
static_assert(
    Program<UNet<Width<4>, Depth<2>, R2Blocks<>, padding::Reflect, odd::Pad, up::Bilinear<>, Narrow, norm::Group<2>>,
            Image<3, 37, 29>>::output_shape == Shape{2, 1, 37, 29});

// --- recurrence against plain loops

/// One channel.
using Map = std::vector<double>;
constexpr int height = 5, width = 7, pixels = height * width, batch = 2;

using NormFree = Style<padding::Same, norm::None>;
using Normed = Style<padding::Same, norm::Batch, activation::ReLU, dropout::None, true>;
template <class Layer>
using On = Program<Layer, Image<1, height, width>>;

std::vector<float> random_images() {
  std::vector<float> images(batch * pixels);
  Random random{Seed{5}};
  for (float& v : images) v = random.normal();
  return images;
}

template <class P>
std::span<double> values(Model<P, double>& model, const std::string& name) {
  for (const Parameter& p : model.graph().parameters)
    if (name_of(model.graph(), p) == name) return model.mutable_values(p);
  throw ArgumentError("no parameter is called " + name);
}

/// A model whose numbers are all different from what initialisation gives.
template <class P>
Model<P, double> drawn() {
  Model<P, double> model{Seed{1}};
  Random random{Seed{2}};
  for (double& v : model.mutable_parameters()) v = static_cast<double>(random.uniform(-0.6f, 0.6f));
  return model;
}

/// 3x3, zeros outside.
Map convolved(const Map& x, std::span<const double> kernel, double bias) {
  Map y(x.size());
  for (std::size_t n = 0; n < x.size() / pixels; ++n)
    for (int row = 0; row < height; ++row)
      for (int column = 0; column < width; ++column) {
        double sum = bias;
        for (int tap = 0; tap < 9; ++tap) {
          const int r = row + tap / 3 - 1, c = column + tap % 3 - 1;
          if (r >= 0 && r < height && c >= 0 && c < width)
            sum += kernel[static_cast<std::size_t>(tap)] * x[n * pixels + static_cast<std::size_t>(r * width + c)];
        }
        y[n * pixels + static_cast<std::size_t>(row * width + column)] = sum;
      }
  return y;
}
Map plus(Map x, const Map& y) {
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];
  return x;
}
Map relu(Map x) {
  for (double& v : x) v = std::max(v, 0.0);
  return x;
}

template <class P>
Map predicted(Model<P, double>& model, const std::vector<float>& images) {
  Predictor<P, cpu::Eigen<double>> predictor{model, batch};
  const auto y = predictor.predict({images, batch, height, width});
  return {y.data, y.data + batch * pixels};
}

void check_equal(const Map& found, const Map& expected) {
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) CHECK(found[i] == doctest::Approx(expected[i]).epsilon(1e-9));
}

}  // namespace

TEST_CASE("a shared kernel: y = f(x), then y = f(x + y)") {
  auto model = drawn<On<Recurrent<NormFree, Steps<3>>>>();
  const auto images = random_images();
  const Map x(images.begin(), images.end());
  const auto kernel = values(model, "conv.weight");
  const double bias = values(model, "conv.bias")[0];
  Map y = relu(convolved(x, kernel, bias));
  for (int step = 0; step < 3; ++step) y = relu(convolved(plus(x, y), kernel, bias));
  check_equal(predicted(model, images), y);
}

TEST_CASE("separate kernels: W_f x + W_r s + b") {
  auto model = drawn<On<Recurrent<NormFree, recurrent::SeparateKernels>>>();
  const auto images = random_images();
  const Map fed =
      convolved({images.begin(), images.end()}, values(model, "conv.weight"), values(model, "conv.bias")[0]);
  const auto back = values(model, "recurrent.weight");
  const Map once = relu(plus(fed, convolved(relu(fed), back, 0.0)));
  check_equal(predicted(model, images), relu(plus(fed, convolved(once, back, 0.0))));
}

TEST_CASE("an R2 block adds its projection after the second recurrent convolution") {
  auto model = drawn<On<WithChannels<1, R2Block<NormFree, Steps<1>>>>>();
  const auto images = random_images();
  Map projected;
  for (const float v : images)
    projected.push_back(values(model, "proj.weight")[0] * static_cast<double>(v) + values(model, "proj.bias")[0]);
  Map y = projected;
  for (const std::string unit : {"rec1.", "rec2."}) {
    const auto kernel = values(model, unit + "conv.weight");
    const double bias = values(model, unit + "conv.bias")[0];
    y = relu(convolved(plus(y, relu(convolved(y, kernel, bias))), kernel, bias));
  }
  check_equal(predicted(model, images), plus(projected, y));

  auto without = drawn<On<WithChannels<1, RecurrentBlock<NormFree, Steps<1>>>>>();
  std::copy(model.parameters().begin(), model.parameters().end(), without.mutable_parameters().begin());
  check_equal(predicted(without, images), y);
}

TEST_CASE("each step keeps its own running statistics, or all keep the same") {
  const auto images = random_images();
  const std::vector<std::uint8_t> labels(images.size(), 1);
  const ImagesView image_view{images, batch, height, width};
  const LabelsView label_view{labels, batch, height, width};

  // What each step's norm sees, and what it makes of it.
  auto model = drawn<On<Recurrent<Normed, Steps<2>>>>();
  const double gamma = values(model, "norm.weight")[0], beta = values(model, "norm.bias")[0];
  std::vector<std::array<double, 2>> seen;  // mean and unbiased variance
  const Map x(images.begin(), images.end());
  Map y(x.size(), 0.0);
  for (int step = 0; step <= 2; ++step) {
    y = convolved(plus(x, y), values(model, "conv.weight"), values(model, "conv.bias")[0]);
    const double n = static_cast<double>(y.size());
    double mean = 0.0, squares = 0.0;
    for (const double v : y) mean += v / n;
    for (const double v : y) squares += (v - mean) * (v - mean);
    seen.push_back({mean, squares / (n - 1)});
    for (double& v : y) v = std::max(gamma * (v - mean) / std::sqrt(squares / n + 1e-5) + beta, 0.0);
  }

  SUBCASE("per step") {
    using P = On<Recurrent<Normed, Steps<2>>>;
    Trainer<P, BinaryCrossEntropy, cpu::Eigen<double>> trainer{model, {}, {.batch = batch}};
    trainer.evaluate_gradients(image_view, label_view);
    check_equal({trainer.logits().data, trainer.logits().data + batch * pixels}, y);
    for (int step = 0; step <= 2; ++step) {
      const std::string norm = "norm.step." + std::to_string(step);
      const auto& s = seen[static_cast<std::size_t>(step)];
      CHECK(values(model, norm + ".running_mean")[0] == doctest::Approx(0.1 * s[0]).epsilon(1e-6));
      CHECK(values(model, norm + ".running_var")[0] == doctest::Approx(0.9 + 0.1 * s[1]).epsilon(1e-6));
    }
  }
  SUBCASE("shared") {
    using P = On<Recurrent<Normed, recurrent::SharedStatistics>>;
    Model<P, double> shared;
    std::copy(model.parameters().begin(), model.parameters().end(), shared.mutable_parameters().begin());
    Trainer<P, BinaryCrossEntropy, cpu::Eigen<double>> trainer{shared, {}, {.batch = batch}};
    trainer.evaluate_gradients(image_view, label_view);
    double mean = 0.0, variance = 1.0;
    for (const auto& s : seen) {
      mean += 0.1 * (s[0] - mean);
      variance += 0.1 * (s[1] - variance);
    }
    CHECK(values(shared, "norm.running_mean")[0] == doctest::Approx(mean).epsilon(1e-6));
    CHECK(values(shared, "norm.running_var")[0] == doctest::Approx(variance).epsilon(1e-6));
  }
}

namespace {
/// The largest difference between training's and inference's logits on one batch whose running statistics have settled.
template <class Options>
double divergence() {
  using P = Program<UNet<Classes<1>, Width<4>, Depth<1>, Options>, Image<1, 32, 32>>;
  Model<P, double> model{Seed{3}};
  const auto random = testing::random_batch<P>(2);
  Trainer<P, BinaryCrossEntropy, cpu::Eigen<double>> trainer{model, {}, {.batch = 2}};
  for (int i = 0; i < 80; ++i) trainer.evaluate_gradients(random.image_view, random.label_view);
  Predictor<P, cpu::Eigen<double>> predictor{model, 2};
  const auto inferred = predictor.predict(random.image_view);
  double worst = 0.0;
  for (int n = 0; n < 2; ++n)
    for (std::ptrdiff_t p = 0; p < inferred.pixels(); ++p)
      worst = std::max(worst, std::abs(inferred.pixel(n, p)[0] - trainer.logits().pixel(n, p)[0]));
  return worst;
}
}  // namespace

TEST_CASE("statistics shared by the steps part inference from training") {
  const double per_step = divergence<R2Blocks<>>();
  const double shared = divergence<R2Blocks<recurrent::SharedStatistics>>();
  MESSAGE("logits differ by " << per_step << " per step, by " << shared << " shared");
  CHECK(per_step < 0.05);
  CHECK(shared > 0.5);
}

TEST_CASE("t = 3, odd widths, non-square, a batch of three, R2 blocks with gates") {
  using Net = R2AttUNet<Classes<3>, Widths<3, 5, 7>, R2Blocks<Steps<3>, recurrent::SeparateKernels>>;
  using P = Program<Net, Image<2, 12, 20>>;
  Model<P> model{Seed{1}};
  const auto random = testing::random_batch<P>(3);
  Trainer<P, CrossEntropy, cpu::Eigen<float>> trainer{model, {.learning_rate = 1e-2}, {.batch = 3}};
  const double first = trainer.step(random.image_view, random.label_view).loss;
  for (const Parameter& p : model.graph().parameters) {
    if (!is_trainable(p.kind)) continue;
    float largest = 0.0f;
    for (const float g :
         trainer.gradients().subspan(static_cast<std::size_t>(p.offset), static_cast<std::size_t>(p.size())))
      largest = std::max(largest, std::abs(g));
    CHECK_MESSAGE(largest > 0.0f, name_of(model.graph(), p));
  }
  for (int i = 0; i < 30; ++i) trainer.step(random.image_view, random.label_view);
  CHECK(trainer.step(random.image_view, random.label_view).loss < 0.6 * first);
}

TEST_CASE("the summary says which network it is, and counts a shared weight once") {
  const std::string text = Program<R2UNet<Width<4>, Depth<1>>, Image<1, 8, 8>>::summary();
  CHECK(text.find("R2UNet/encoder[0]/rec1/step[2]") != std::string::npos);
  CHECK(text.find("R2UNet/decoder[0]/rec2") != std::string::npos);
  // 4 to 4 channels of 9 taps and bias; scale and shift; nothing in the later steps.
  const auto line = [&text](const std::string& path) {
    const std::size_t at = text.find(path + " ");
    REQUIRE(at != std::string::npos);
    return text.substr(at, text.find('\n', at) - at);
  };
  CHECK(line("R2UNet/encoder[0]/rec1").find(" 156 ") != std::string::npos);
  CHECK(line("R2UNet/encoder[0]/rec1/step[1]").find(" 156 ") == std::string::npos);
}
