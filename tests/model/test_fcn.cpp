// SPDX-License-Identifier: MIT
// FCN-32s, 16s and 8s: parameters, extents, and that scores are summed.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string_view>
#include <vector>

#include "ulna/backend/eigen/eigen.hpp"
#include "ulna/backend/tbb/tbb.hpp"
#include "ulna/model/fcn.hpp"
#include "ulna/predict/predictor.hpp"
#include "ulna/train/trainer.hpp"

using namespace ulna;

namespace {

// --- parameters, by hand

constexpr std::int64_t conv(std::int64_t kernel, std::int64_t in, std::int64_t out) {
  return kernel * kernel * in * out + out;
}

/// The encoder with fc6 and fc7, width w, `in` image channels, `h` hidden ones.
constexpr std::int64_t vgg16(std::int64_t in, std::int64_t w, std::int64_t h) {
  return conv(3, in, w) + conv(3, w, w) + conv(3, w, 2 * w) + conv(3, 2 * w, 2 * w) + conv(3, 2 * w, 4 * w) +
         2 * conv(3, 4 * w, 4 * w) + conv(3, 4 * w, 8 * w) + 5 * conv(3, 8 * w, 8 * w) + conv(7, 8 * w, h) +
         conv(1, h, h);
}
static_assert(vgg16(3, 64, 4096) == 138'357'544 - (4096 * 1000 + 1000));  // VGG-16 without its 1000 classes

template <class Net, int Channels, int Extent>
constexpr std::int64_t parameters = Program<Net, Image<Channels, Extent, Extent>>::parameter_count;

constexpr std::int64_t scores_at_32 = conv(1, 4096, 21);
static_assert(parameters<FCN<Classes<21>, ScoreStride<32>>, 3, 224> == vgg16(3, 64, 4096) + scores_at_32);
static_assert(parameters<FCN<Classes<21>, ScoreStride<16>>, 3, 224> ==
              vgg16(3, 64, 4096) + scores_at_32 + conv(1, 512, 21));
static_assert(parameters<FCN<Classes<21>>, 3, 224> ==
              vgg16(3, 64, 4096) + scores_at_32 + conv(1, 512, 21) + conv(1, 256, 21));
// Learned upsampling: kernels of 4, 4 and 16 taps an axis between all classes, without bias.
static_assert(parameters<FCN<Classes<21>, scores::Learned>, 3, 224> - parameters<FCN<Classes<21>>, 3, 224> ==
              21 * 21 * (4 * 4 + 4 * 4 + 16 * 16));
static_assert(parameters<FCN<Classes<2>, Width<8>, Hidden<40>, ScoreStride<32>>, 1, 32> ==
              vgg16(1, 8, 40) + conv(1, 40, 2));
// A batch norm has a scale and a shift where the convolution had a bias.
static_assert(parameters<FCN<Width<2>, norm::Batch>, 1, 32> - parameters<FCN<Width<2>>, 1, 32> ==
              2 + 2 + 4 + 4 + 3 * 8 + 6 * 16 + 2 * 128);

// --- extents

using Tiny = FCN<Classes<3>, Width<2>, Hidden<6>>;
static_assert(Program<Tiny, Image<2, 64, 96>>::output_shape == Shape{3, 1, 64, 96});
static_assert(Program<Tiny, Image<2, 64, 96>>::alignment == 32);
static_assert(Program<Tiny, Image<2, 64, 96>>::halo.bounded);
static_assert(Program<FCN<Width<2>, scores::Learned>, Image<2, 64, 96>>::halo.bounded);

/// Classes and strides of the maps that are summed, coarse to fine.
template <class P>
constexpr auto sums() {
  FixedVector<int, 4> strides{};
  for (const Node& n : P::inference.graph.nodes) {
    const bool sum = n.op == Op::add || n.residual != ResidualSum::none;
    if (n.op == Op::concat || (sum && n.shape.channels != P::classes)) strides.push_back(-1);
    if (sum) strides.push_back(P::input_shape.height / n.shape.height);
  }
  return strides;
}
template <int Stride>
using Strided = Program<FCN<Classes<3>, Width<2>, ScoreStride<Stride>>, Image<1, 64, 64>>;
static_assert(sums<Strided<32>>().empty());
static_assert(sums<Strided<16>>().size() == 1 && sums<Strided<16>>()[0] == 16);
static_assert(sums<Strided<8>>().size() == 2 && sums<Strided<8>>()[0] == 16 && sums<Strided<8>>()[1] == 8);

std::vector<float> noise(const Shape& s, int batch, std::uint64_t seed) {
  Random random{Seed{seed}};
  std::vector<float> v(static_cast<std::size_t>(s.size()) * static_cast<std::size_t>(batch));
  for (float& x : v) x = random.normal();
  return v;
}

template <class B, class P>
std::vector<double> logits(Model<P>& model, const std::vector<float>& image) {
  Predictor<P, B> predictor{model};
  const auto out = predictor.predict({image, 1, P::input_shape.height, P::input_shape.width, P::input_shape.channels});
  std::vector<double> v;
  for (std::ptrdiff_t i = 0; i < out.pixels(); ++i)
    for (int c = 0; c < P::classes; ++c) v.push_back(static_cast<double>(out.pixel(0, i)[c]));
  return v;
}

std::string path(const auto& graph, const Parameter& p) { return name_of(graph, p); }

/// The model with all score layers but `kept` at zero.
template <class P>
Model<P> with_scores_of(const Model<P>& model, std::string_view kept) {
  Model<P> part = model.copy();
  for (const Parameter& p : part.graph().parameters) {
    const std::string name = path(part.graph(), p);
    if (name.starts_with("score_") && !name.starts_with(kept)) std::ranges::fill(part.mutable_values(p), 0.0f);
  }
  return part;
}

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double largest = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

}  // namespace

TEST_CASE_TEMPLATE("the logits are the sum of what each score layer gives alone", Up, scores::Interpolated,
                   scores::Learned) {
  using P = Program<FCN<Classes<3>, Width<2>, Hidden<6>, Up>, Image<2, 64, 96>>;
  using B = cpu::Eigen<float>;
  Model<P> model{Seed{4}};
  const auto image = noise(P::input_shape, 1, 1);
  const auto whole = logits<B>(model, image);
  std::vector<double> sum(whole.size(), 0.0);
  for (const char* layer : {"score_fc7", "score_pool4", "score_pool3"}) {
    auto part = with_scores_of(model, layer);
    const auto alone = logits<B>(part, image);
    CHECK(std::ranges::any_of(alone, [](double v) { return std::abs(v) > 1e-3; }));
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += alone[i];
  }
  CHECK(largest_difference(whole, sum) < 1e-4);
}

TEST_CASE("learned upsampling starts as bilinear interpolation, but for the border") {
  constexpr int height = 3, width = 4;
  const auto compare = []<int Factor>() {
    struct Learns {
      static constexpr Value lower(Builder& b, Value x) { return layer::interpolating_conv(b, x, Factor); }
    };
    struct Interpolates {
      static constexpr Value lower(Builder& b, Value x) { return scores::Interpolated::lower(b, x, Factor, "up"); }
    };
    using L = Program<Learns, Image<2, height, width>>;
    using I = Program<Interpolates, Image<2, height, width>>;
    static_assert(L::output_shape == I::output_shape);
    Model<L> learns{Seed{1}};
    Model<I> interpolates{Seed{1}};
    const auto image = noise(L::input_shape, 1, 2);
    const auto expected = logits<cpu::Eigen<float>>(interpolates, image);
    const auto reference = logits<cpu::Eigen<float>>(learns, image);
    CHECK(largest_difference(reference, logits<cpu::Tbb<float>>(learns, image)) < 1e-5);
    double inside = 0.0;
    for (int y = Factor / 2; y < height * Factor - Factor / 2; ++y)
      for (int x = Factor / 2; x < width * Factor - Factor / 2; ++x)
        for (int c = 0; c < 2; ++c) {
          const auto i = static_cast<std::size_t>((y * width * Factor + x) * 2 + c);
          inside = std::max(inside, std::abs(expected[i] - reference[i]));
        }
    CHECK_MESSAGE(inside < 1e-5, "factor " << Factor);
  };
  compare.operator()<2>();
  compare.operator()<3>();
  compare.operator()<8>();
  compare.operator()<32>();
}

TEST_CASE("both backends agree, and every parameter learns") {
  using P = Program<FCN<Classes<3>, Width<4>, Hidden<8>, norm::Batch, scores::Learned>, Image<3, 96, 64>>;
  constexpr int batch = 3;
  Model<P> model{Seed{1}};
  const auto images = noise(P::input_shape, batch, 7);
  CHECK(largest_difference(logits<cpu::Eigen<float>>(model, {images.begin(), images.begin() + P::input_shape.size()}),
                           logits<cpu::Tbb<float>>(model, {images.begin(), images.begin() + P::input_shape.size()})) <
        1e-3);
  std::vector<std::uint8_t> labels(batch * 96 * 64);
  for (std::size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<std::uint8_t>(i / 300 % 3);
  Trainer<P, CrossEntropy, cpu::Tbb<float>> trainer{model, {.learning_rate = 1e-2}, {.batch = batch}};
  const ImagesView x{images, batch, 96, 64, 3};
  const LabelsView y{labels, batch, 96, 64};
  const double first = trainer.step(x, y).loss;
  for (const Parameter& p : model.graph().parameters) {
    if (!is_trainable(p.kind)) continue;
    const auto gradient =
        trainer.gradients().subspan(static_cast<std::size_t>(p.offset), static_cast<std::size_t>(p.size()));
    CHECK_MESSAGE(std::ranges::any_of(gradient, [](float g) { return g != 0.0f; }), path(model.graph(), p));
  }
  double last = 0.0;
  for (int i = 0; i < 15; ++i) last = trainer.step(x, y).loss;
  CHECK(last < first);
}

TEST_CASE("extents that do not halve five times are refused with what fits") {
  constexpr Diagnostic said = detail::diagnose<Tiny>({1, 1, 96, 100});
  static_assert(said.rule == RuleKind::extent_must_divide);
  const std::string_view text{said.sentence.values, static_cast<std::size_t>(said.sentence.count)};
  CHECK_MESSAGE(text.find("FCN/encoder[2]/pool: width 25 is not divisible by 2") == 0, text);
  CHECK_MESSAGE(text.find("multiple of 32: 96 or 128 instead of 100") != std::string_view::npos, text);
  static_assert(!detail::diagnose<Tiny>({1, 1, 32, 64}));
}
