// SPDX-License-Identifier: MIT
// The training loop, and what may listen to it.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "ulna/error.hpp"
#include "ulna/train/trainer.hpp"

namespace ulna {

/// Called after every step; returning false ends the training.
using Callback = std::function<bool(const StepReport&)>;

/// Trains until `steps` steps are done (those before a resumed checkpoint included) or a callback ends it. Callbacks
/// run in order, all of them at every step. `batches.next()` gives `images`, `labels` and, where the loss is weighted,
/// `weights` (ulna::Loader does). Returns the steps done.
template <class T, class Batches>
std::int64_t fit(T& trainer, Batches& batches, std::int64_t steps, const std::vector<Callback>& callbacks = {}) {
  bool go_on = true;
  while (go_on && trainer.steps() < steps) {
    const auto& batch = batches.next();
    const StepReport report = batch.weights.size() > 0 ? trainer.step(batch.images, batch.labels, batch.weights)
                                                       : trainer.step(batch.images, batch.labels);
    for (const Callback& callback : callbacks) go_on = callback(report) && go_on;
  }
  return trainer.steps();
}

/// A callback that calls `action(report)` after every `period`-th step: checkpoints, validation.
inline Callback every(std::int64_t period, std::function<bool(const StepReport&)> action) {
  if (period < 1) throw ArgumentError("every: the period is " + std::to_string(period) + ", must be at least 1");
  return [period, action = std::move(action)](const StepReport& report) {
    return report.step % period != 0 || action(report);
  };
}

/// Ends a training when a validation value has not improved for a while.
class EarlyStopping {
 public:
  /// `patience`: how many values in a row may fail to improve on the best by more than `least_gain`. Smaller values are
  /// better unless `larger_is_better`.
  explicit EarlyStopping(int patience, double least_gain = 0.0, bool larger_is_better = false)
      : patience_(patience), least_gain_(least_gain), sign_(larger_is_better ? -1.0 : 1.0) {
    if (patience < 1)
      throw ArgumentError("EarlyStopping: patience is " + std::to_string(patience) + ", must be at least 1");
  }

  /// Takes the next value; false: stop. A value that is not a number counts as no improvement.
  bool observe(double value) {
    improved_ = sign_ * value < best_ - least_gain_;
    if (improved_) best_ = sign_ * value;
    since_best_ = improved_ ? 0 : since_best_ + 1;
    return since_best_ < patience_;
  }

  /// Whether the last value was the best so far: the moment to keep the weights.
  bool improved() const { return improved_; }
  double best() const { return sign_ * best_; }

 private:
  int patience_;
  double least_gain_;
  double sign_;
  double best_ = std::numeric_limits<double>::infinity();
  int since_best_ = 0;
  bool improved_ = false;
};

}  // namespace ulna
