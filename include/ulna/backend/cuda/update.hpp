// SPDX-License-Identifier: MIT
// The end of a training step over the flat parameter buffer: norm of the gradients, clipping, the optimizer's step.
#pragma once

#include <cmath>
#include <cstdint>

#include "ulna/backend/cuda/reduction.hpp"

namespace ulna::cuda {

/// What a step reports, in memory of the device.
struct StepResult {
  double gradient_norm = 0.0;
  float scale = 1.0f;  ///< of gradients: clipping
  float loss = 0.0f;
};

namespace bodies {

struct GradientNorm {
  static constexpr int sums = 1;
  const float* gradients;
  StepResult* result;
  double clip_norm;

  ULNA_HOST_DEVICE void add(std::int64_t, std::int64_t i, int, double* sum) const {
    const auto g = static_cast<double>(gradients[i]);
    sum[0] += g * g;
  }
  ULNA_HOST_DEVICE void finish(std::int64_t, int, const double* sum) const {
    result->gradient_norm = std::sqrt(sum[0]);
    result->scale = result->gradient_norm > clip_norm ? static_cast<float>(clip_norm / result->gradient_norm) : 1.0f;
  }
};

/// Without clipping this is all there is to report.
struct ReportLoss {
  const float* loss;
  StepResult* result;
  ULNA_HOST_DEVICE void operator()(std::int64_t) const { *result = {0.0, 1.0f, *loss}; }
};

/// Nothing happens where the loss is not finite.
template <class Step>
struct Update {
  const Step* step;
  const StepResult* result;
  float* parameters;
  const float* gradients;
  float* slot[2];  ///< the second may be absent

  ULNA_HOST_DEVICE void operator()(std::int64_t i) const {
    const float loss = result->loss;
    if (!(loss - loss == 0.0f)) return;
    float unused = 0.0f;
    (*step)(result->scale, parameters[i], gradients[i], slot[0][i], slot[1] ? slot[1][i] : unused);
  }
};

}  // namespace bodies
}  // namespace ulna::cuda
