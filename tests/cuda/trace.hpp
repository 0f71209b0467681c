// SPDX-License-Identifier: MIT
// A short training of a small network, the same on every backend.
#pragma once

#include "../support/batch.hpp"
#include "device.hpp"
#include "ulna/model/unet.hpp"
#include "ulna/predict/predictor.hpp"
#include "ulna/train/trainer.hpp"

namespace ulna::testing {

using TracedNet = Program<UNet<Width<8>, Depth<2>, Dropout<>>, Image<2, 20, 28>>;

template <class B>
Trace trace() {
  Model<TracedNet> model{Seed{5}};
  Trace t;
  {
    Trainer<TracedNet, DiceCrossEntropy, B, SGD> trainer{
        model, {.learning_rate = 0.05}, {.batch = 3, .clip_norm = 0.5, .seed = Seed{8}}};
    for (int step = 0; step < 4; ++step) {
      const RandomBatch batch = random_batch<TracedNet>(step == 2 ? 1 : 3, Seed{static_cast<std::uint64_t>(step)});
      const StepReport report = trainer.step(batch.image_view, batch.label_view);
      t.losses.push_back(report.loss);
      t.gradient_norms.push_back(report.gradient_norm);
    }
  }
  t.parameters.assign(model.parameters().begin(), model.parameters().end());
  t.state.assign(model.state().begin(), model.state().end());
  Predictor<TracedNet, B> predictor{model, 2};
  const RandomBatch unseen = random_batch<TracedNet>(2, Seed{77});
  const auto logits = predictor.predict(unseen.image_view);
  for (int n = 0; n < logits.batch; ++n)
    for (std::ptrdiff_t p = 0; p < logits.pixels(); ++p)
      for (int c = 0; c < logits.shape.channels; ++c) t.logits.push_back(static_cast<double>(logits.pixel(n, p)[c]));
  return t;
}

}  // namespace ulna::testing
