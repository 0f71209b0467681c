// SPDX-License-Identifier: MIT
// A check that any network passes: it trains, it infers.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "ulna/backend/eigen/eigen.hpp"
#include "ulna/predict/predictor.hpp"
#include "ulna/train/trainer.hpp"

namespace ulna::testing {

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

}  // namespace ulna::testing
