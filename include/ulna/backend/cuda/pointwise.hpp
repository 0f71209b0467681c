// SPDX-License-Identifier: MIT
// Activations, softmax, dropout, sum, product, multiples and position embeddings.
#pragma once

#include <type_traits>

#include "ulna/backend/cuda/activation.hpp"
#include "ulna/backend/cuda/elements.hpp"
#include "ulna/random.hpp"

namespace ulna::cuda {

namespace bodies {

struct Activate {
  ActivationOf act;
  ULNA_HOST_DEVICE float operator()(std::int64_t, int, float x) const { return act(x); }
};

struct ActivationGradient {
  ActivationOf act;
  ULNA_HOST_DEVICE float operator()(std::int64_t, int, float dy, float known) const {
    return dy * act.slope_from(known);
  }
};

struct Add {
  ActivationOf act;
  ULNA_HOST_DEVICE float operator()(std::int64_t, int, float x, float y) const { return act(x + y); }
};

struct Multiply {
  ULNA_HOST_DEVICE float operator()(std::int64_t, int, float x, float y) const { return x * y; }
};

/// By the one channel of a map.
template <class T>
struct MultiplyByMap {
  Tensor<T> map;
  ULNA_HOST_DEVICE float operator()(std::int64_t q, int, float x) const {
    return x * static_cast<float>(*row_of(map, q));
  }
};

struct Scale {
  float factor;
  ULNA_HOST_DEVICE float operator()(std::int64_t, int, float x) const { return factor * x; }
};

/// The draw that op/pointwise.hpp states.
struct Dropout {
  const RunState* run;
  float rate;
  std::uint32_t stream;
  int pixels, channels;

  ULNA_HOST_DEVICE float operator()(std::int64_t q, int c, float x) const {
    const Quotient at = divide(q, pixels);
    const auto e = static_cast<std::uint64_t>(std::int64_t{at.remainder} * channels + c);
    const auto four = philox({static_cast<std::uint32_t>(e / 4), static_cast<std::uint32_t>(at.quotient), stream,
                              static_cast<std::uint32_t>(run->step)},
                             run->seed);
    const std::uint32_t low = e % 2 == 0 ? four[0] : four[1];  // not four[e % 4]: registers have no addresses
    const std::uint32_t high = e % 2 == 0 ? four[2] : four[3];
    const std::uint32_t bits = e % 4 < 2 ? low : high;
    const bool dropped = static_cast<float>(bits >> 8) * 0x1p-24f < rate;
    return dropped ? 0.0f : x * (1.0f / (1.0f - rate));
  }
};

template <class T>
struct Softmax {
  Tensor<T> x, y;
  ULNA_HOST_DEVICE void operator()(std::int64_t q) const {
    const T* const from = row_of(x, q);
    T* const to = row_of(y, q);
    const int channels = x.shape.channels;
    float largest = static_cast<float>(from[0]);
    for (int c = 1; c < channels; ++c) {
      const auto v = static_cast<float>(from[c]);
      largest = v > largest ? v : largest;
    }
    float sum = 0.0f;
    for (int c = 0; c < channels; ++c) sum += std::exp(static_cast<float>(from[c]) - largest);
    for (int c = 0; c < channels; ++c) to[c] = static_cast<T>(std::exp(static_cast<float>(from[c]) - largest) / sum);
  }
};

template <class T>
struct SoftmaxGradient {
  Tensor<T> dy, y, dx;
  ULNA_HOST_DEVICE void operator()(std::int64_t q) const {
    const T* const g = row_of(dy, q);
    const T* const p = row_of(y, q);
    T* const to = row_of(dx, q);
    float along = 0.0f;
    for (int c = 0; c < y.shape.channels; ++c) along += static_cast<float>(g[c]) * static_cast<float>(p[c]);
    for (int c = 0; c < y.shape.channels; ++c)
      to[c] = static_cast<T>(static_cast<float>(p[c]) * (static_cast<float>(g[c]) - along));
  }
};

template <class T>
struct ChannelDot {
  Tensor<T> a, b, y;
  ULNA_HOST_DEVICE void operator()(std::int64_t q) const {
    float sum = 0.0f;
    for (int c = 0; c < a.shape.channels; ++c)
      sum += static_cast<float>(row_of(a, q)[c]) * static_cast<float>(row_of(b, q)[c]);
    *row_of(y, q) = static_cast<T>(sum);
  }
};

struct AddEmbedding {
  const float* table;  ///< [pixel][channel]
  int pixels, channels;
  ULNA_HOST_DEVICE float operator()(std::int64_t q, int c, float x) const {
    return x + table[std::int64_t{divide(q, pixels).remainder} * channels + c];
  }
};

template <class T>
struct EmbeddingGradient {
  Tensor<T> dy;
  float* gradient;
  bool accumulate;
  ULNA_HOST_DEVICE void operator()(std::int64_t i) const {
    const Quotient at = divide(i, dy.shape.channels);
    float sum = accumulate ? gradient[i] : 0.0f;
    for (int n = 0; n < dy.batch; ++n) sum += static_cast<float>(dy.pixel(n, at.quotient)[at.remainder]);
    gradient[i] = sum;
  }
};

}  // namespace bodies

/// A call whose operands are all parameter-like, and therefore float.
template <class T>
Call<float> in_float(const Call<T>& call) {
  Call<float> same;
  same.node = call.node;
  same.batch = call.batch;
  same.output = held_as<float>(call.output);
  for (std::size_t i = 0; i < max_inputs; ++i) same.input[i] = held_as<float>(call.input[i]);
  same.scratch = call.scratch;
  return same;
}

template <class Execution, class T>
void activation(const Execution& on, const Call<T>& call) {
  map_elements(on, "activation", bodies::Activate{ActivationOf(*call.node)}, call.output, call.input[0]);
}

/// dx = dy act'(x), act' as a function of y (gelu: of x, which the second input is)
template <class Execution, class T>
void activation_gradient(const Execution& on, const Call<T>& call) {
  map_elements(on, "activation_gradient", bodies::ActivationGradient{ActivationOf(*call.node)}, call.output,
               call.input[0], call.input[1]);
}

template <class Execution, class T>
void softmax(const Execution& on, const Call<T>& call) {
  on.each("softmax", rows_of(call.output), bodies::Softmax<T>{call.input[0], call.output});
}

template <class Execution, class T>
void softmax_gradient(const Execution& on, const Call<T>& call) {
  on.each("softmax_gradient", rows_of(call.output),
          bodies::SoftmaxGradient<T>{call.input[0], call.input[1], call.output});
}

template <class Execution, class T>
void dropout(const Execution& on, const Call<T>& call) {
  const bodies::Dropout f{on.run, call.node->rate, static_cast<std::uint32_t>(call.node->begin),
                          static_cast<int>(call.output.pixels()), call.output.shape.channels};
  map_elements(on, "dropout", f, call.output, call.input[0]);
}

template <class Execution, class T>
void add(const Execution& on, const Call<T>& call) {
  if constexpr (!std::is_same_v<T, float>)
    if (!call.node->per_sample) return cuda::add(on, in_float(call));  // gradients of what is made of parameters
  map_elements(on, "add", bodies::Add{ActivationOf(*call.node)}, call.output, call.input[0], call.input[1]);
}

template <class Execution, class T>
void multiply(const Execution& on, const Call<T>& call) {
  if (call.input[1].shape.channels == call.input[0].shape.channels)
    map_elements(on, "multiply", bodies::Multiply{}, call.output, call.input[0], call.input[1]);
  else
    map_elements(on, "multiply", bodies::MultiplyByMap<T>{call.input[1]}, call.output, call.input[0]);
}

template <class Execution, class T>
void scale(const Execution& on, const Call<T>& call) {
  map_elements(on, "scale", bodies::Scale{call.node->rate}, call.output, call.input[0]);
}

template <class Execution, class T>
void channel_dot(const Execution& on, const Call<T>& call) {
  on.each("channel_dot", rows_of(call.output), bodies::ChannelDot<T>{call.input[0], call.input[1], call.output});
}

template <class Execution, class T>
void add_embedding(const Execution& on, const Call<T>& call) {
  const Tensor<T>& x = call.input[0];
  const bodies::AddEmbedding f{held_as<float>(call.input[1]).data, static_cast<int>(x.pixels()), x.shape.channels};
  map_elements(on, "add_embedding", f, call.output, x);
}

template <class Execution, class T>
void embedding_gradient(const Execution& on, const Call<T>& call) {
  const Tensor<T>& dy = call.input[0];
  on.each("embedding_gradient", dy.pixels() * dy.shape.channels,
          bodies::EmbeddingGradient<T>{dy, held_as<float>(call.output).data, call.node->accumulate});
}

}  // namespace ulna::cuda
