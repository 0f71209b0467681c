// SPDX-License-Identifier: MIT
// Learning-rate schedules: functions from the step (counted from 0) to a factor on the optimizer's learning rate.
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <numbers>
#include <string>
#include <utility>

#include "ulna/error.hpp"

namespace ulna {

using Schedule = std::function<double(std::int64_t)>;

namespace schedule {

inline Schedule constant() {
  return [](std::int64_t) { return 1.0; };
}

/// Multiplied by `factor` after every `period` steps. Throws ArgumentError unless the period is positive.
inline Schedule step(std::int64_t period, double factor = 0.1) {
  if (period < 1)
    throw ArgumentError("schedule::step: the period is " + std::to_string(period) + " steps, must be at least 1");
  return [=](std::int64_t t) { return std::pow(factor, static_cast<double>(t / period)); };
}

/// (1 - t / total)^power; 0 from `total` on (nnU-Net's with power 0.9).
inline Schedule polynomial(std::int64_t total, double power = 0.9) {
  return [=](std::int64_t t) {
    return t >= total ? 0.0 : std::pow(1.0 - static_cast<double>(t) / static_cast<double>(total), power);
  };
}

/// floor + (1 - floor) (1 + cos(pi t / total)) / 2 (Loshchilov and Hutter 2017); `floor` from `total` on.
inline Schedule cosine(std::int64_t total, double floor = 0.0) {
  return [=](std::int64_t t) {
    const double x = t >= total ? 1.0 : static_cast<double>(t) / static_cast<double>(total);
    return floor + (1.0 - floor) * 0.5 * (1.0 + std::cos(std::numbers::pi * x));
  };
}

/// Rises linearly to 1 over `steps` steps, then follows `after` from its own step 0.
inline Schedule warm_up(std::int64_t steps, Schedule after) {
  return [steps, after = std::move(after)](std::int64_t t) {
    return t < steps ? static_cast<double>(t + 1) / static_cast<double>(steps) : after(t - steps);
  };
}

}  // namespace schedule
}  // namespace ulna
