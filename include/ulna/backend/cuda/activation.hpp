// SPDX-License-Identifier: MIT
// Activations of single numbers.
#pragma once

#include <cmath>

#include "ulna/backend/cuda/host_device.hpp"
#include "ulna/graph/node.hpp"

namespace ulna::cuda {

/// 1 / sqrt(x).
ULNA_HOST_DEVICE inline float inverse_root(float x) {
#ifdef __CUDA_ARCH__
  return rsqrtf(x);
#else
  return 1.0f / std::sqrt(x);
#endif
}

ULNA_HOST_DEVICE inline float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

/// The cumulative normal distribution.
ULNA_HOST_DEVICE inline float normal_cdf(float x) { return 0.5f * std::erfc(-x * 0.70710678f); }

/// An activation and its parameter.
struct ActivationOf {
  Activation kind = Activation::none;
  float slope = 0.0f;

  explicit ActivationOf(const Node& node) : kind(node.activation), slope(node.slope) {}

  ULNA_HOST_DEVICE float operator()(float x) const {
    switch (kind) {
      case Activation::none:
        break;
      case Activation::relu:
        return x < 0.0f ? 0.0f : x;
      case Activation::leaky_relu:
        return x < 0.0f ? slope * x : x;
      case Activation::sigmoid:
        return sigmoid(x);
      case Activation::gelu:
        return x * normal_cdf(x);
    }
    return x;
  }

  /// d act / dx, given x.
  ULNA_HOST_DEVICE float slope_at(float x) const {
    switch (kind) {
      case Activation::none:
        break;
      case Activation::relu:
        return x > 0.0f ? 1.0f : 0.0f;
      case Activation::leaky_relu:
        return x > 0.0f ? 1.0f : slope;
      case Activation::sigmoid:
        return sigmoid(x) * (1.0f - sigmoid(x));
      case Activation::gelu:
        return normal_cdf(x) + x * std::exp(-0.5f * x * x) * 0.39894228f;
    }
    return 1.0f;
  }

  /// d act / dx, given y = act(x); for gelu given x.
  ULNA_HOST_DEVICE float slope_from(float known) const {
    return kind == Activation::sigmoid ? known * (1.0f - known) : slope_at(known);
  }
};

}  // namespace ulna::cuda
