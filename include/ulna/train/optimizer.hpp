// SPDX-License-Identifier: MIT
// Optimizers over the flat parameter buffer, with PyTorch's formulas. Each is stated for one parameter, which devices
// share, and loops over blocks of them.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

#include "ulna/backend/cuda/host_device.hpp"

namespace ulna {

/// One block of parameters and what belongs to it.
template <class T>
struct UpdateBlock {
  T* parameter;
  const T* gradient;
  std::array<T*, 2> slot;  ///< the optimizer's own memory, zero before the first step
  std::int64_t count;
};

/// Stochastic gradient descent: g += weight_decay p; v = momentum v + g; p -= rate v, or rate (g + momentum v) with
/// nesterov.
struct SGD {
  double learning_rate = 0.01;
  double momentum = 0.9;
  double weight_decay = 0.0;
  bool nesterov = false;

  static constexpr const char* name = "sgd";
  static constexpr int slots = 1;

  /// One step, one parameter at a time.
  template <class T>
  struct Step {
    T rate, momentum, decay;
    bool nesterov;

    ULNA_HOST_DEVICE void operator()(T scale, T& p, T gradient, T& v, T& /*unused*/) const {
      const T g = scale * gradient + decay * p;
      v = momentum * v + g;
      p -= rate * (nesterov ? g + momentum * v : v);
    }
  };

  /// `rate` is the scheduled learning rate; step counts from 1.
  template <class T>
  Step<T> at(double rate, std::int64_t /*step*/) const {
    return {static_cast<T>(rate), static_cast<T>(momentum), static_cast<T>(weight_decay), nesterov};
  }

  /// `scale` multiplies gradients (clipping).
  template <class T>
  void update(const UpdateBlock<T>& b, double rate, double scale, std::int64_t step) const {
    const Step<T> move = at<T>(rate, step);
    const T s = static_cast<T>(scale);
    T unused{};
    for (std::int64_t i = 0; i < b.count; ++i) move(s, b.parameter[i], b.gradient[i], b.slot[0][i], unused);
  }
};

namespace detail {
/// m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; p -= rate / (1 - b1^t) m / (sqrt(v / (1 - b2^t)) + eps).
template <class T>
struct AdamStep {
  T b1, b2, c1, c2, size, root, eps, keep, decay;

  ULNA_HOST_DEVICE void operator()(T scale, T& p, T gradient, T& m, T& v) const {
    const T g = scale * gradient + decay * p;
    m = b1 * m + c1 * g;
    v = b2 * v + c2 * g * g;
    p = p * keep - size * m / (std::sqrt(v) * root + eps);
  }
};

/// `decoupled`: weight decay shrinks parameters instead of being added to the gradient.
template <class T>
AdamStep<T> adam_step(const auto& adam, bool decoupled, double rate, std::int64_t step) {
  const double t = static_cast<double>(step);
  return {static_cast<T>(adam.beta1),
          static_cast<T>(adam.beta2),
          static_cast<T>(1.0 - adam.beta1),
          static_cast<T>(1.0 - adam.beta2),
          static_cast<T>(rate / (1.0 - std::pow(adam.beta1, t))),
          static_cast<T>(1.0 / std::sqrt(1.0 - std::pow(adam.beta2, t))),
          static_cast<T>(adam.epsilon),
          decoupled ? static_cast<T>(1.0 - rate * adam.weight_decay) : T{1},
          decoupled ? T{0} : static_cast<T>(adam.weight_decay)};
}

template <class T>
void adam_update(const UpdateBlock<T>& b, const AdamStep<T>& move, double scale) {
  const T s = static_cast<T>(scale);
  for (std::int64_t i = 0; i < b.count; ++i) move(s, b.parameter[i], b.gradient[i], b.slot[0][i], b.slot[1][i]);
}
}  // namespace detail

/// Adam (Kingma and Ba 2015); weight decay is added to the gradient.
struct Adam {
  double learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.0;

  static constexpr const char* name = "adam";
  static constexpr int slots = 2;

  /// One step, one parameter at a time; step counts from 1.
  template <class T>
  detail::AdamStep<T> at(double rate, std::int64_t step) const {
    return detail::adam_step<T>(*this, false, rate, step);
  }

  template <class T>
  void update(const UpdateBlock<T>& b, double rate, double scale, std::int64_t step) const {
    detail::adam_update(b, at<T>(rate, step), scale);
  }
};

/// Adam with decoupled weight decay (Loshchilov and Hutter 2019): p *= 1 - rate weight_decay before the step.
struct AdamW {
  double learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 1e-2;

  static constexpr const char* name = "adamw";
  static constexpr int slots = 2;

  /// One step, one parameter at a time; step counts from 1.
  template <class T>
  detail::AdamStep<T> at(double rate, std::int64_t step) const {
    return detail::adam_step<T>(*this, true, rate, step);
  }

  template <class T>
  void update(const UpdateBlock<T>& b, double rate, double scale, std::int64_t step) const {
    detail::adam_update(b, at<T>(rate, step), scale);
  }
};

}  // namespace ulna
