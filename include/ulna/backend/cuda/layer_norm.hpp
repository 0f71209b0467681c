// SPDX-License-Identifier: MIT
// Layer normalisation over the channels of each pixel, and weight standardisation over each filter.
#pragma once

#include "ulna/backend/cuda/activation.hpp"
#include "ulna/backend/cuda/elements.hpp"
#include "ulna/backend/cuda/reduction.hpp"

namespace ulna::cuda {

namespace bodies {

/// Mean and 1 / sqrt(variance + epsilon) of each pixel's channels.
struct RowMoments {
  float mean, inverse;

  ULNA_HOST_DEVICE static RowMoments of(const double* sum, double count, double epsilon) {
    const double mean = sum[0] / count;
    const double variance = sum[1] / count - mean * mean;
    return {static_cast<float>(mean), static_cast<float>(1.0 / std::sqrt((variance > 0.0 ? variance : 0.0) + epsilon))};
  }
};

template <class T>
struct RowMomentsTerms {
  static constexpr int sums = 2;
  Tensor<T> x;
  RowMoments* rows;
  float epsilon;

  ULNA_HOST_DEVICE void add(std::int64_t q, std::int64_t c, int, double* sum) const {
    const auto v = static_cast<double>(static_cast<float>(row_of(x, q)[c]));
    sum[0] += v;
    sum[1] += v * v;
  }
  ULNA_HOST_DEVICE void finish(std::int64_t q, int, const double* sum) const {
    rows[q] = RowMoments::of(sum, x.shape.channels, static_cast<double>(epsilon));
  }
};

/// And the means of g and g xh, g = gamma dy.
struct RowGradient {
  RowMoments moments;
  float mean, along;

  /// Of the sums of x, x x, g, g x.
  ULNA_HOST_DEVICE static RowGradient of(const double* sum, double count, double epsilon) {
    const RowMoments m = RowMoments::of(sum, count, epsilon);
    const double x = sum[0] / count;
    const double variance = sum[1] / count - x * x;
    const double inverse = 1.0 / std::sqrt((variance > 0.0 ? variance : 0.0) + epsilon);
    return {m, static_cast<float>(sum[2] / count), static_cast<float>((sum[3] - x * sum[2]) / count * inverse)};
  }
  ULNA_HOST_DEVICE float apply(float g, float x) const {
    return (g - mean - (x - moments.mean) * moments.inverse * along) * moments.inverse;
  }
  ULNA_HOST_DEVICE static void add(double x, double g, double* sum) {
    sum[0] += x;
    sum[1] += x * x;
    sum[2] += g;
    sum[3] += g * x;
  }
};

template <class T>
struct RowGradientTerms {
  static constexpr int sums = 4;
  Tensor<T> dy, x;
  const float* gamma;
  RowGradient* rows;
  float epsilon;

  ULNA_HOST_DEVICE void add(std::int64_t q, std::int64_t c, int, double* sum) const {
    RowGradient::add(static_cast<double>(static_cast<float>(row_of(x, q)[c])),
                     static_cast<double>(gamma[c] * static_cast<float>(row_of(dy, q)[c])), sum);
  }
  ULNA_HOST_DEVICE void finish(std::int64_t q, int, const double* sum) const {
    rows[q] = RowGradient::of(sum, x.shape.channels, static_cast<double>(epsilon));
  }
};

struct LayerNorm {
  const RowMoments* rows;
  const float *gamma, *beta;
  ULNA_HOST_DEVICE float operator()(std::int64_t q, int c, float x) const {
    return (x - rows[q].mean) * rows[q].inverse * gamma[c] + beta[c];
  }
};

struct LayerNormGradient {
  const RowGradient* rows;
  const float* gamma;
  ULNA_HOST_DEVICE float operator()(std::int64_t q, int c, float dy, float x) const {
    return rows[q].apply(gamma[c] * dy, x);
  }
};

/// sum dy, then sum dy xh, over the pixels of each sample
template <class T>
struct LayerNormSums {
  static constexpr int sums = 2;
  Tensor<T> dy, x;
  const RowMoments* rows;
  float* records;  ///< [sample][2 C]

  ULNA_HOST_DEVICE void add(std::int64_t n, std::int64_t p, int c, double* sum) const {
    const std::int64_t q = n * x.pixels() + p;
    const auto g = static_cast<double>(static_cast<float>(row_of(dy, q)[c]));
    const float xh = (static_cast<float>(row_of(x, q)[c]) - rows[q].mean) * rows[q].inverse;
    sum[0] += g;
    sum[1] += g * static_cast<double>(xh);
  }
  ULNA_HOST_DEVICE void finish(std::int64_t n, int c, const double* sum) const {
    float* const to = records + n * 2 * x.shape.channels + c;
    to[0] = static_cast<float>(sum[0]);
    to[x.shape.channels] = static_cast<float>(sum[1]);
  }
};

/// Of each filter of a weight [row][out], row = tap and input channel.
struct FilterMoments {
  static constexpr int sums = 2;
  const float* w;
  RowMoments* filters;
  std::int64_t rows;
  int out;
  float epsilon;

  ULNA_HOST_DEVICE void add(std::int64_t, std::int64_t r, int k, double* sum) const {
    const auto v = static_cast<double>(w[r * out + k]);
    sum[0] += v;
    sum[1] += v * v;
  }
  ULNA_HOST_DEVICE void finish(std::int64_t, int k, const double* sum) const {
    filters[k] = RowMoments::of(sum, static_cast<double>(rows), static_cast<double>(epsilon));
  }
};

struct FilterGradient {
  static constexpr int sums = 4;
  const float *g, *w;
  RowGradient* filters;
  std::int64_t rows;
  int out;
  float epsilon;

  ULNA_HOST_DEVICE void add(std::int64_t, std::int64_t r, int k, double* sum) const {
    RowGradient::add(static_cast<double>(w[r * out + k]), static_cast<double>(g[r * out + k]), sum);
  }
  ULNA_HOST_DEVICE void finish(std::int64_t, int k, const double* sum) const {
    filters[k] = RowGradient::of(sum, static_cast<double>(rows), static_cast<double>(epsilon));
  }
};

struct Standardize {
  const float* w;
  const RowMoments* filters;
  float* to;
  int out;
  ULNA_HOST_DEVICE void operator()(std::int64_t i) const {
    const RowMoments m = filters[divide(i, out).remainder];
    to[i] = (w[i] - m.mean) * m.inverse;
  }
};

struct StandardizeGradient {
  const float *g, *w;
  const RowGradient* filters;
  float* to;
  int out;
  bool accumulate;
  ULNA_HOST_DEVICE void operator()(std::int64_t i) const {
    const float dw = filters[divide(i, out).remainder].apply(g[i], w[i]);
    to[i] = accumulate ? to[i] + dw : dw;
  }
};

}  // namespace bodies

/// One reduction for each pixel, over its channels.
template <class T>
ReductionShape pixel_rows_shape(const Tensor<T>& x) {
  return ReductionShape::of(rows_of(x), x.shape.channels, 1, false);
}
/// One reduction for each filter of a weight.
template <class T>
ReductionShape filters_shape(const Tensor<T>& w) {
  return ReductionShape::of(1, w.shape.size() / w.shape.channels, w.shape.channels);
}

struct LayerNormBuffers {
  template <class T>
  LayerNormBuffers(const Call<T>& call, Workspace& w) : rows(w.take<bodies::RowMoments>(rows_of(call.input[0]))) {}
  bodies::RowMoments* rows;
};

/// y = gamma xh + beta
template <class Execution, class T>
void layer_norm(const Execution& on, const Call<T>& call) {
  const Tensor<T>& x = call.input[0];
  const auto buffers = buffers_of<LayerNormBuffers>(call);
  reduce(on, "layer_norm_moments", pixel_rows_shape(x), nullptr,
         bodies::RowMomentsTerms<T>{x, buffers.rows, call.node->norm.epsilon});
  const bodies::LayerNorm f{buffers.rows, held_as<float>(call.input[1]).data, held_as<float>(call.input[2]).data};
  map_elements(on, "layer_norm", f, call.output, x);
}

struct LayerNormSumsBuffers {
  template <class T>
  LayerNormSumsBuffers(const Call<T>& call, Workspace& w)
      : shape(ReductionShape::of(call.input[1].batch, call.input[1].pixels(), call.input[1].shape.channels)),
        rows(w.take<bodies::RowMoments>(rows_of(call.input[1]))),
        partial(w.take<double>(shape.partials(2))) {}
  ReductionShape shape;
  bodies::RowMoments* rows;
  double* partial;
};

/// sum dy, then sum dy xh, over the pixels of each sample
template <class Execution, class T>
void layer_norm_sums(const Execution& on, const Call<T>& call) {
  const Tensor<T>& x = call.input[1];
  const auto buffers = buffers_of<LayerNormSumsBuffers>(call);
  reduce(on, "layer_norm_moments", pixel_rows_shape(x), nullptr,
         bodies::RowMomentsTerms<T>{x, buffers.rows, call.node->norm.epsilon});
  reduce(on, "layer_norm_sums", buffers.shape, buffers.partial,
         bodies::LayerNormSums<T>{call.input[0], x, buffers.rows, held_as<float>(call.output).data});
}

struct LayerNormGradientBuffers {
  template <class T>
  LayerNormGradientBuffers(const Call<T>& call, Workspace& w)
      : rows(w.take<bodies::RowGradient>(rows_of(call.input[1]))) {}
  bodies::RowGradient* rows;
};

/// dx = (g - mean(g) - xh mean(g xh)) / sqrt(variance + epsilon), g = gamma dy
template <class Execution, class T>
void layer_norm_gradient(const Execution& on, const Call<T>& call) {
  const Tensor<T>& dy = call.input[0];
  const Tensor<T>& x = call.input[1];
  const float* const gamma = held_as<float>(call.input[2]).data;
  const auto buffers = buffers_of<LayerNormGradientBuffers>(call);
  reduce(on, "layer_norm_gradient_means", pixel_rows_shape(x), nullptr,
         bodies::RowGradientTerms<T>{dy, x, gamma, buffers.rows, call.node->norm.epsilon});
  map_elements(on, "layer_norm_gradient", bodies::LayerNormGradient{buffers.rows, gamma}, call.output, dy, x);
}

struct StandardizeBuffers {
  template <class T>
  StandardizeBuffers(const Call<T>& call, Workspace& w)
      : shape(filters_shape(call.output)),
        filters(w.take<bodies::RowGradient>(shape.columns)),
        partial(w.take<double>(shape.partials(4))) {}
  ReductionShape shape;
  bodies::RowGradient* filters;  ///< the moments alone take less
  double* partial;
};

/// w' = (w - mean) / sqrt(variance + epsilon)
template <class Execution, class T>
void standardize_weight(const Execution& on, const Call<T>& call) {
  const auto b = buffers_of<StandardizeBuffers>(call);
  auto* const filters = reinterpret_cast<bodies::RowMoments*>(b.filters);
  const float* const w = held_as<float>(call.input[0]).data;
  reduce(on, "standardize_weight_moments", b.shape, b.partial,
         bodies::FilterMoments{w, filters, b.shape.length, b.shape.columns, call.node->norm.epsilon});
  on.each("standardize_weight", call.output.shape.size(),
          bodies::Standardize{w, filters, held_as<float>(call.output).data, b.shape.columns});
}

/// dw = (dw' - mean(dw') - wh mean(dw' wh)) / sqrt(variance + epsilon)
template <class Execution, class T>
void standardize_weight_gradient(const Execution& on, const Call<T>& call) {
  const auto b = buffers_of<StandardizeBuffers>(call);
  const float* const g = held_as<float>(call.input[0]).data;
  const float* const w = held_as<float>(call.input[1]).data;
  reduce(on, "standardize_weight_gradient_means", b.shape, b.partial,
         bodies::FilterGradient{g, w, b.filters, b.shape.length, b.shape.columns, call.node->norm.epsilon});
  on.each("standardize_weight_gradient", call.output.shape.size(),
          bodies::StandardizeGradient{g, w, b.filters, held_as<float>(call.output).data, b.shape.columns,
                                      call.node->accumulate});
}

}  // namespace ulna::cuda
