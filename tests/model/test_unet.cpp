// SPDX-License-Identifier: MIT
// The U-Net in its published shapes: parameter counts as published or as the code gives them, and runs of small ones.
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <vector>

#include "ulna/backend/eigen/eigen.hpp"
#include "ulna/model/published_unets.hpp"
#include "ulna/predict/predictor.hpp"
#include "ulna/train/trainer.hpp"

using namespace ulna;

namespace {

template <class Net, int Channels, int Extent>
constexpr std::int64_t parameters = Program<Net, Image<Channels, Extent, Extent>>::parameter_count;

static_assert(parameters<PaperUNet<>, 1, 572> == 31'030'658);
static_assert(parameters<PaperUNet<>, 3, 188> == 31'031'810);
static_assert(parameters<JvanvugtUNet<>, 1, 188> == 31'030'658);
static_assert(parameters<ZhixuhaoUNet<>, 1, 256> == 31'031'685);
static_assert(parameters<MilesialUNet<>, 3, 64> == 31'037'698);
static_assert(parameters<MilesialBilinearUNet<>, 3, 64> == 17'263'042);
static_assert(parameters<LeeJunHyunUNet<>, 3, 64> == 34'527'041);
static_assert(parameters<ZhouUNet<>, 1, 96> == 7'759'521);
static_assert(parameters<WideUNet<>, 1, 96> == 9'282'246);
static_assert(parameters<Uiiurz1UNet<>, 3, 96> == 7'852'545);

static_assert(Program<PaperUNet<>, Image<1, 572, 572>>::output_shape == Shape{2, 1, 388, 388});
static_assert(Program<MilesialUNet<>, Image<3, 65, 47>>::output_shape == Shape{2, 1, 65, 47});
// What is given wins over what the shape says.
static_assert(Program<PaperUNet<Classes<5>, Width<4>>, Image<1, 188, 204>>::output_shape == Shape{5, 1, 4, 20});

/// One step of training and one inference of a batch of three, checked against what a run must show.
template <class Net, int Channels, int Height, int Width, class Loss = CrossEntropy>
void runs() {
  using P = Program<Net, Image<Channels, Height, Width>>;
  constexpr int batch = 3;
  constexpr Shape out = P::output_shape;
  const auto count = [](Shape s) { return static_cast<std::size_t>(s.size()) * batch; };
  Random random{Seed{3}, 0};
  std::vector<float> images(count(P::input_shape));
  for (float& v : images) v = random.normal();
  std::vector<std::uint8_t> labels(count({1, 1, out.height, out.width}));
  for (std::uint8_t& v : labels) v = static_cast<std::uint8_t>(random.uniform(0.0f, 1.0f) < 0.5f);
  const ImagesView image_view{images, batch, Height, Width, Channels};
  const LabelsView label_view{labels, batch, out.height, out.width};

  Model<P> model{Seed{1}};
  Trainer<P, Loss, cpu::Eigen<float>, SGD> trainer{model, {.learning_rate = 0.01}, {.batch = batch}};
  CHECK(std::isfinite(trainer.step(image_view, label_view).loss));
  // Every parameter takes part: of every tensor some gradient is not 0. (A bias in front of a norm has the gradient 0
  // in exact arithmetic; rounding leaves a trace.)
  for (const Parameter& p : model.graph().parameters) {
    if (!is_trainable(p.kind)) continue;
    const auto gradient =
        trainer.gradients().subspan(static_cast<std::size_t>(p.offset), static_cast<std::size_t>(p.size()));
    double sum = 0.0;
    for (const float g : gradient) sum += std::abs(g);
    CHECK_MESSAGE(sum > 0.0, name_of(model.graph(), p));
    CHECK_MESSAGE(std::isfinite(sum), name_of(model.graph(), p));
  }

  // A sample's result does not depend on its companions.
  Predictor<P, cpu::Eigen<float>> predictor{model, batch};
  const auto together = predictor.predict(image_view);
  std::vector<float> last;
  for (std::ptrdiff_t i = 0; i < together.pixels(); ++i)
    last.insert(last.end(), together.pixel(batch - 1, i), together.pixel(batch - 1, i) + out.channels);
  const auto alone =
      predictor.predict({images.data() + images.size() / batch * (batch - 1), 1, Height, Width, Channels});
  CHECK(alone.shape == out);
  double difference = 0.0;
  for (std::ptrdiff_t i = 0; i < alone.pixels(); ++i)
    for (int c = 0; c < out.channels; ++c)
      difference =
          std::max(difference, std::abs(static_cast<double>(alone.pixel(0, i)[c]) -
                                        static_cast<double>(last[static_cast<std::size_t>(i * out.channels + c)])));
  CHECK(difference < 1e-4);
}

}  // namespace

TEST_CASE("the paper's network: depth 2, not square") { runs<PaperUNet<Width<3>, Depth<2>>, 1, 44, 60>(); }
TEST_CASE("milesial: odd extents, odd widths") { runs<MilesialUNet<Widths<3, 5, 7>>, 3, 21, 15>(); }
TEST_CASE("milesial, bilinear: odd extents, odd width") { runs<MilesialBilinearUNet<Width<6>, Depth<3>>, 2, 21, 30>(); }
TEST_CASE("LeeJunHyun: one class, depth 1") {
  runs<LeeJunHyunUNet<Width<4>, Depth<1>>, 3, 12, 20, BinaryCrossEntropy>();
}
TEST_CASE("4uiiurz1: one class, widths that do not double") {
  runs<Uiiurz1UNet<Widths<3, 4, 9>>, 3, 16, 12, BinaryCrossEntropy>();
}
TEST_CASE("zhixuhao: one class") { runs<ZhixuhaoUNet<Width<4>, Depth<2>>, 1, 16, 8, BinaryCrossEntropy>(); }
TEST_CASE("the wide U-Net's shape, narrower") { runs<ZhouUNet<Widths<5, 10, 20>>, 1, 16, 24, BinaryCrossEntropy>(); }
