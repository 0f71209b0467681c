// SPDX-License-Identifier: MIT
// Optimizers over the flat parameter buffer, with PyTorch's formulas.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

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

  /// `rate` is the scheduled learning rate, `scale` multiplies gradients (clipping); step counts from 1.
  template <class T>
  void update(const UpdateBlock<T>& b, double rate, double scale, std::int64_t /*step*/) const {
    const T r = static_cast<T>(rate);
    const T s = static_cast<T>(scale);
    const T mu = static_cast<T>(momentum);
    const T decay = static_cast<T>(weight_decay);
    T* const p = b.parameter;
    T* const v = b.slot[0];
    for (std::int64_t i = 0; i < b.count; ++i) {
      const T g = s * b.gradient[i] + decay * p[i];
      v[i] = mu * v[i] + g;
      p[i] -= r * (nesterov ? g + mu * v[i] : v[i]);
    }
  }
};

namespace detail {
/// m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; p -= rate / (1 - b1^t) m / (sqrt(v / (1 - b2^t)) + eps).
template <class T, bool Decoupled>
void adam_update(const UpdateBlock<T>& b, double rate, double scale, std::int64_t step, double beta1, double beta2,
                 double epsilon, double weight_decay) {
  const T b1 = static_cast<T>(beta1);
  const T b2 = static_cast<T>(beta2);
  const T c1 = static_cast<T>(1.0 - beta1);
  const T c2 = static_cast<T>(1.0 - beta2);
  const double t = static_cast<double>(step);
  const T size = static_cast<T>(rate / (1.0 - std::pow(beta1, t)));
  const T root = static_cast<T>(1.0 / std::sqrt(1.0 - std::pow(beta2, t)));
  const T eps = static_cast<T>(epsilon);
  const T keep = Decoupled ? static_cast<T>(1.0 - rate * weight_decay) : T{1};
  const T decay = Decoupled ? T{0} : static_cast<T>(weight_decay);
  const T s = static_cast<T>(scale);
  T* const p = b.parameter;
  T* const m = b.slot[0];
  T* const v = b.slot[1];
  for (std::int64_t i = 0; i < b.count; ++i) {
    const T g = s * b.gradient[i] + decay * p[i];
    m[i] = b1 * m[i] + c1 * g;
    v[i] = b2 * v[i] + c2 * g * g;
    p[i] = p[i] * keep - size * m[i] / (std::sqrt(v[i]) * root + eps);
  }
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

  template <class T>
  void update(const UpdateBlock<T>& b, double rate, double scale, std::int64_t step) const {
    detail::adam_update<T, false>(b, rate, scale, step, beta1, beta2, epsilon, weight_decay);
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

  template <class T>
  void update(const UpdateBlock<T>& b, double rate, double scale, std::int64_t step) const {
    detail::adam_update<T, true>(b, rate, scale, step, beta1, beta2, epsilon, weight_decay);
  }
};

}  // namespace ulna
