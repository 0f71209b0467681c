// SPDX-License-Identifier: MIT
// The moving average of a model's weights along its training.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "ulna/error.hpp"
#include "ulna/runtime/model.hpp"

namespace ulna {

/// An exponential moving average of parameters and running statistics (Polyak averaging):
///   average += (1 - d) (model - average), d = min(decay, (1 + step) / (10 + step)).
/// Averaging the last steps of a run whose learning rate stays well above 0 generalises better than its last weights.
/// The average is a model of its own: segment with it, save it, load it to go on.
template <class P, class T = float>
class WeightAverage {
 public:
  /// Throws ArgumentError unless decay is in [0, 1).
  explicit WeightAverage(const Model<P, T>& model, double decay = 0.99) : decay_(decay), average_(model.copy()) {
    if (!(decay >= 0.0 && decay < 1.0))
      throw ArgumentError("WeightAverage: decay is " + std::to_string(decay) + ", must be in [0, 1)");
  }

  /// Call it after every step; `step` counts from 1.
  void update(const Model<P, T>& model, std::int64_t step) {
    const double t = static_cast<double>(step);
    const T gain = static_cast<T>(1.0 - std::min(decay_, (1.0 + t) / (10.0 + t)));
    blend(average_.mutable_parameters(), model.parameters(), gain);
    blend(average_.mutable_state(), model.state(), gain);
  }

  Model<P, T>& model() { return average_; }

 private:
  static void blend(std::span<T> average, std::span<const T> now, T gain) {
    for (std::size_t i = 0; i < average.size(); ++i) average[i] += gain * (now[i] - average[i]);
  }

  double decay_;
  Model<P, T> average_;
};

}  // namespace ulna
