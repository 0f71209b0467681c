// SPDX-License-Identifier: MIT
// Losses on logits and their gradients. Labels, pixel weights and records are float.
#pragma once

#include "ulna/backend/cuda/activation.hpp"
#include "ulna/backend/cuda/elements.hpp"
#include "ulna/backend/cuda/reduction.hpp"

namespace ulna::cuda {

namespace bodies {

/// softmax of one pixel's logits: the largest, and the sum of exp(x - largest).
struct SoftmaxOf {
  float largest;
  float sum;

  template <class T>
  ULNA_HOST_DEVICE SoftmaxOf(const T* x, int channels) : largest(static_cast<float>(x[0])), sum(0.0f) {
    for (int c = 1; c < channels; ++c) {
      const auto v = static_cast<float>(x[c]);
      largest = v > largest ? v : largest;
    }
    for (int c = 0; c < channels; ++c) sum += std::exp(static_cast<float>(x[c]) - largest);
  }
  template <class T>
  ULNA_HOST_DEVICE float operator()(T x) const {
    return std::exp(static_cast<float>(x) - largest) / sum;
  }
};

/// The weight of pixel q, 1 where there is no map.
struct PixelWeights {
  Tensor<float> map;
  ULNA_HOST_DEVICE float operator()(std::int64_t q) const { return map ? *row_of(map, q) : 1.0f; }
};

/// log sum_k exp(x_k) - x_label
struct CrossEntropyOf {
  template <class T>
  ULNA_HOST_DEVICE double operator()(const T* x, int channels, float label) const {
    const SoftmaxOf softmax(x, channels);
    return static_cast<double>(softmax.largest) + std::log(static_cast<double>(softmax.sum)) -
           static_cast<double>(static_cast<float>(x[static_cast<int>(label)]));
  }
};

/// max(x, 0) - x y + log(1 + exp(-|x|))
struct BinaryCrossEntropyOf {
  template <class T>
  ULNA_HOST_DEVICE double operator()(const T* logit, int, float y) const {
    const auto x = static_cast<float>(*logit);
    return static_cast<double>(x > 0.0f ? x : 0.0f) - static_cast<double>(x) * static_cast<double>(y) +
           static_cast<double>(std::log1p(std::exp(-std::abs(x))));
  }
};

/// Record {loss, W}: the weighted mean of a loss of each pixel.
template <class T, class PixelLoss>
struct WeightedMean {
  static constexpr int sums = 2;
  Tensor<T> x;
  Tensor<float> labels;
  PixelWeights weights;
  float* record;
  PixelLoss loss;

  ULNA_HOST_DEVICE void add(std::int64_t, std::int64_t q, int, double* sum) const {
    const auto w = static_cast<double>(weights(q));
    sum[1] += w;
    if (w != 0.0) sum[0] += w * loss(row_of(x, q), x.shape.channels, *row_of(labels, q));
  }
  ULNA_HOST_DEVICE void finish(std::int64_t, int, const double* sum) const {
    record[0] = static_cast<float>(sum[1] > 0.0 ? sum[0] / sum[1] : 0.0);
    record[1] = static_cast<float>(sum[1]);
  }
};

/// rate w / W at a pixel; 0 for a batch without weight.
struct WeightShare {
  const float* record;
  PixelWeights weights;
  float rate;
  ULNA_HOST_DEVICE float operator()(std::int64_t q) const {
    const float total = record[1];
    return total > 0.0f ? rate * weights(q) / total : 0.0f;
  }
};

template <class T>
struct CrossEntropyGradient {
  Tensor<T> x, dx;
  Tensor<float> labels;
  WeightShare share;
  ULNA_HOST_DEVICE void operator()(std::int64_t q) const {
    const T* const from = row_of(x, q);
    T* const to = row_of(dx, q);
    const SoftmaxOf softmax(from, x.shape.channels);
    const int label = static_cast<int>(*row_of(labels, q));
    const float s = share(q);
    for (int c = 0; c < x.shape.channels; ++c)
      to[c] = static_cast<T>(s * (softmax(from[c]) - (c == label ? 1.0f : 0.0f)));
  }
};

template <class T>
struct BinaryCrossEntropyGradient {
  Tensor<T> x, dx;
  Tensor<float> labels;
  WeightShare share;
  ULNA_HOST_DEVICE void operator()(std::int64_t q) const {
    *row_of(dx, q) = static_cast<T>(share(q) * (sigmoid(static_cast<float>(*row_of(x, q))) - *row_of(labels, q)));
  }
};

// --- soft Dice
// --------------------------------------------------------------------------------------------------------

/// The probability of class c: softmax, or sigmoid for one channel.
template <class T>
struct Probabilities {
  const T* x;
  int channels;
  SoftmaxOf softmax;
  ULNA_HOST_DEVICE Probabilities(const T* logits, int count) : x(logits), channels(count), softmax(logits, count) {}
  ULNA_HOST_DEVICE float operator()(int c) const {
    return channels == 1 ? sigmoid(static_cast<float>(x[0])) : softmax(x[c]);
  }
};

/// One-hot, or for one channel the label itself.
ULNA_HOST_DEVICE inline float truth_of(float label, int c, int channels) {
  return channels == 1 ? label : (static_cast<int>(label) == c ? 1.0f : 0.0f);
}

/// Classes [first_counted, channels) enter the mean.
constexpr int first_counted(const DiceAttributes& dice, int channels) {
  return channels == 1 || dice.include_background ? 0 : 1;
}

/// D_c and its denominator, of the sums I, P, Y of class c.
struct Dice {
  double value, denominator;
  ULNA_HOST_DEVICE static Dice of(const DiceAttributes& a, const float* sums) {
    const double denominator =
        static_cast<double>(sums[1]) + static_cast<double>(sums[2]) + static_cast<double>(a.smooth_denominator);
    return {(2.0 * static_cast<double>(sums[0]) + static_cast<double>(a.smooth_numerator)) / denominator, denominator};
  }
};

/// I, P, Y of each class
template <class T>
struct DiceSums {
  static constexpr int sums = 3;
  Tensor<T> x;
  Tensor<float> labels;
  float* records;
  std::int64_t length;
  bool squared;

  ULNA_HOST_DEVICE void add(std::int64_t record, std::int64_t i, int c, double* sum) const {
    const std::int64_t q = record * length + i;
    const auto p = static_cast<double>(Probabilities<T>(row_of(x, q), x.shape.channels)(c));
    const auto y = static_cast<double>(truth_of(*row_of(labels, q), c, x.shape.channels));
    sum[0] += p * y;
    sum[1] += squared ? p * p : p;
    sum[2] += y;
  }
  ULNA_HOST_DEVICE void finish(std::int64_t record, int c, const double* sum) const {
    float* const to = records + record * (1 + 3 * x.shape.channels) + 1 + 3 * c;
    for (int s = 0; s < 3; ++s) to[s] = static_cast<float>(sum[s]);
  }
};

/// 1 - mean of D_c, at the head of each record
struct DiceLoss {
  float* records;
  DiceAttributes dice;
  int channels;
  ULNA_HOST_DEVICE void operator()(std::int64_t r) const {
    float* const record = records + r * (1 + 3 * channels);
    const int first = first_counted(dice, channels);
    double total = 0.0;
    for (int c = first; c < channels; ++c) total += Dice::of(dice, record + 1 + 3 * c).value;
    record[0] = static_cast<float>(1.0 - total / (channels - first));
  }
};

template <class T>
struct DiceGradient {
  Tensor<T> x, dx;
  Tensor<float> labels;
  const float* records;
  DiceAttributes dice;
  float scale;

  /// d loss / d p_c
  ULNA_HOST_DEVICE float by_probability(const float* record, float p, float label, int c) const {
    if (c < first_counted(dice, x.shape.channels)) return 0.0f;
    const Dice d = Dice::of(dice, record + 1 + 3 * c);
    const double q = dice.squared ? 2.0 * static_cast<double>(p) : 1.0;
    const auto y = static_cast<double>(truth_of(label, c, x.shape.channels));
    return -scale * static_cast<float>((2.0 * y - q * d.value) / d.denominator);
  }
  ULNA_HOST_DEVICE void operator()(std::int64_t q) const {
    const int channels = x.shape.channels;
    const float* const record =
        records + (dice.per_sample ? divide(q, static_cast<int>(x.pixels())).quotient : 0) * (1 + 3 * channels);
    const Probabilities<T> probability(row_of(x, q), channels);
    T* const to = row_of(dx, q);
    const float label = *row_of(labels, q);
    if (channels == 1) {
      const float p = probability(0);
      to[0] = static_cast<T>(by_probability(record, p, label, 0) * p * (1.0f - p));
      return;
    }
    float along = 0.0f;
    for (int c = 0; c < channels; ++c) {
      const float p = probability(c);
      along += by_probability(record, p, label, c) * p;
    }
    for (int c = 0; c < channels; ++c) {
      const float p = probability(c);
      to[c] = static_cast<T>(p * (by_probability(record, p, label, c) - along));
    }
  }
};

/// rate x (mean of record 0's losses) + rate2 x (mean of record 1's)
struct WeightedSum {
  const float *first, *second;
  int first_records, second_records, first_size, second_size;
  float rate, rate2;
  float* to;

  ULNA_HOST_DEVICE static double mean_of(const float* losses, int records, int size) {
    double sum = 0.0;
    for (int r = 0; r < records; ++r) sum += static_cast<double>(losses[std::int64_t{r} * size]);
    return sum / records;
  }
  ULNA_HOST_DEVICE void operator()(std::int64_t) const {
    double total = static_cast<double>(rate) * mean_of(first, first_records, first_size);
    if (second) total += static_cast<double>(rate2) * mean_of(second, second_records, second_size);
    *to = static_cast<float>(total);
  }
};

template <class T>
WeightShare weight_share_of(const Call<T>& call) {
  return {held_as<float>(call.input[2]).data, {held_as<float>(call.input[3])}, call.node->rate};
}

}  // namespace bodies

struct PixelLossBuffers {
  template <class T>
  PixelLossBuffers(const Call<T>& call, Workspace& w)
      : shape(ReductionShape::of(1, rows_of(call.input[0]), 1)), partial(w.take<double>(shape.partials(2))) {}
  ReductionShape shape;
  double* partial;
};

template <class Execution, class T, class PixelLoss>
void weighted_mean(const Execution& on, const char* name, const Call<T>& call, PixelLoss loss) {
  const auto b = buffers_of<PixelLossBuffers>(call);
  reduce(on, name, b.shape, b.partial,
         bodies::WeightedMean<T, PixelLoss>{call.input[0],
                                            held_as<float>(call.input[1]),
                                            {held_as<float>(call.input[2])},
                                            held_as<float>(call.output).data,
                                            loss});
}

template <class Execution, class T>
void cross_entropy(const Execution& on, const Call<T>& call) {
  weighted_mean(on, "cross_entropy", call, bodies::CrossEntropyOf{});
}

/// dx_c = rate w / W (softmax_c - [c = label])
template <class Execution, class T>
void cross_entropy_gradient(const Execution& on, const Call<T>& call) {
  on.each("cross_entropy_gradient", rows_of(call.output),
          bodies::CrossEntropyGradient<T>{call.input[0], call.output, held_as<float>(call.input[1]),
                                          bodies::weight_share_of(call)});
}

template <class Execution, class T>
void binary_cross_entropy(const Execution& on, const Call<T>& call) {
  weighted_mean(on, "binary_cross_entropy", call, bodies::BinaryCrossEntropyOf{});
}

/// dx = rate w / W (sigmoid(x) - y)
template <class Execution, class T>
void binary_cross_entropy_gradient(const Execution& on, const Call<T>& call) {
  on.each("binary_cross_entropy_gradient", rows_of(call.output),
          bodies::BinaryCrossEntropyGradient<T>{call.input[0], call.output, held_as<float>(call.input[1]),
                                                bodies::weight_share_of(call)});
}

struct DiceBuffers {
  template <class T>
  DiceBuffers(const Call<T>& call, Workspace& w)
      : shape(ReductionShape::of(call.node->dice.per_sample ? call.input[0].batch : 1,
                                 call.node->dice.per_sample ? call.input[0].pixels() : rows_of(call.input[0]),
                                 call.input[0].shape.channels)),
        partial(w.take<double>(shape.partials(3))) {}
  ReductionShape shape;
  double* partial;
};

/// Record: 1 - mean of D_c, then I_c, P_c, Y_c of each class
template <class Execution, class T>
void soft_dice(const Execution& on, const Call<T>& call) {
  const auto b = buffers_of<DiceBuffers>(call);
  float* const records = held_as<float>(call.output).data;
  reduce(on, "soft_dice_sums", b.shape, b.partial,
         bodies::DiceSums<T>{call.input[0], held_as<float>(call.input[1]), records, b.shape.length,
                             call.node->dice.squared});
  on.each("soft_dice", b.shape.records, bodies::DiceLoss{records, call.node->dice, b.shape.columns});
}

template <class Execution, class T>
void soft_dice_gradient(const Execution& on, const Call<T>& call) {
  const Tensor<T>& x = call.input[0];
  const DiceAttributes& dice = call.node->dice;
  const int counted = x.shape.channels - bodies::first_counted(dice, x.shape.channels);
  const float scale = call.node->rate / static_cast<float>(counted) / static_cast<float>(dice.per_sample ? x.batch : 1);
  on.each("soft_dice_gradient", rows_of(x),
          bodies::DiceGradient<T>{x, call.output, held_as<float>(call.input[1]), held_as<float>(call.input[2]).data,
                                  dice, scale});
}

template <class Execution, class T>
void weighted_sum(const Execution& on, const Call<T>& call) {
  const Tensor<float> a = held_as<float>(call.input[0]);
  const Tensor<float> b = held_as<float>(call.input[1]);
  on.each("weighted_sum", 1,
          bodies::WeightedSum{a.data, b.data, a.batch, b.batch, static_cast<int>(a.shape.size()),
                              static_cast<int>(b.shape.size()), call.node->rate, call.node->rate2,
                              held_as<float>(call.output).data});
}

}  // namespace ulna::cuda
