// SPDX-License-Identifier: MIT
// What the program of a golden file computes on a backend.
#pragma once

#include <algorithm>
#include <span>
#include <type_traits>
#include <vector>

#include "device.hpp"
#include "ulna/predict/predictor.hpp"
#include "ulna/train/trainer.hpp"

namespace ulna::testing {

/// A network's numbers in Ulna's order, and a batch.
struct GoldenInput {
  std::span<const float> parameters, state;
  ImagesView images;
  LabelsView labels;
};

/// Logits in both modes (channels last), loss, gradients, and the running statistics of the training pass. Without a
/// loss only the logits of inference.
struct GoldenRun {
  std::vector<double> output_eval, output_train, gradients, state;
  double loss = 0.0;
};

template <class T>
std::vector<double> dense_values(const Tensor<T>& t) {
  std::vector<double> values;
  for (int n = 0; n < t.batch; ++n)
    for (std::ptrdiff_t p = 0; p < t.pixels(); ++p)
      for (int c = 0; c < t.shape.channels; ++c) values.push_back(static_cast<double>(t.pixel(n, p)[c]));
  return values;
}

/// Loss void: inference alone.
template <class P, class Loss, class B>
GoldenRun golden_run(const GoldenInput& in) {
  Model<P> model{zeros};
  std::copy(in.parameters.begin(), in.parameters.end(), model.mutable_parameters().begin());
  std::copy(in.state.begin(), in.state.end(), model.mutable_state().begin());
  GoldenRun run;
  Predictor<P, B> predictor{model, in.images.batch};
  run.output_eval = dense_values(predictor.predict(in.images));
  if constexpr (!std::is_void_v<Loss>) {
    Trainer<P, Loss, B, SGD> trainer{model, {}, {.batch = in.images.batch}};
    run.loss = trainer.evaluate_gradients(in.images, in.labels);
    run.output_train = dense_values(trainer.logits());
    run.gradients.assign(trainer.gradients().begin(), trainer.gradients().end());
    run.state.assign(model.state().begin(), model.state().end());
  }
  return run;
}

/// On the device: instantiated in golden_*.cu.
template <class P, class Loss>
GoldenRun golden_on_device(Precision precision, const GoldenInput& in);

}  // namespace ulna::testing
