// SPDX-License-Identifier: MIT
// Losses on logits and their gradients.
#pragma once

#include "ulna/backend/eigen/pointwise.hpp"
#include "ulna/backend/eigen/support.hpp"

namespace ulna::eigen {

/// The weight of a pixel, 1 where there is no map.
template <class T>
double weight_at(const Tensor<T>& weights, int n, Index p) {
  return weights ? static_cast<double>(*weights.pixel(n, p)) : 1.0;
}

/// Record {loss, W}: the weighted mean of `pixel_loss(logits of a pixel, label)`.
template <class T>
void weighted_mean(const Call<T>& call, auto pixel_loss) {
  const Tensor<T>& x = call.input[0];
  double total = 0;
  double weight = 0;
  for (int n = 0; n < x.batch; ++n)
    for (Index p = 0; p < x.pixels(); ++p) {
      const double w = weight_at(call.input[2], n, p);
      weight += w;
      if (w != 0) total += w * pixel_loss(channels_of(x, n, p), static_cast<double>(*call.input[1].pixel(n, p)));
    }
  call.output.data[0] = static_cast<T>(weight > 0 ? total / weight : 0.0);
  call.output.data[1] = static_cast<T>(weight);
}

/// rate w / W at a pixel; 0 for a batch without weight.
template <class T>
double weight_share(const Call<T>& call, int n, Index p) {
  const double total = static_cast<double>(call.input[2].data[1]);
  return total > 0 ? static_cast<double>(call.node->rate) * weight_at(call.input[3], n, p) / total : 0.0;
}

/// log sum_k exp(x_k) - x_label
template <class T>
void cross_entropy(const Call<T>& call) {
  weighted_mean(call, [](const auto& x, double label) {
    const double largest = static_cast<double>(x.maxCoeff());
    const double sum = x.template cast<double>().unaryExpr([largest](double v) { return std::exp(v - largest); }).sum();
    return largest + std::log(sum) - static_cast<double>(x[static_cast<Index>(label)]);
  });
}

/// dx_c = rate w / W (softmax_c - [c = label])
template <class T>
void cross_entropy_gradient(const Call<T>& call) {
  const Tensor<T>& x = call.input[0];
  Channels<double> p(buffers_of<PixelBuffer>(call).data, x.shape.channels);
  for (int n = 0; n < x.batch; ++n)
    for (Index i = 0; i < x.pixels(); ++i) {
      softmax_of(channels_of(x, n, i), p);
      p[static_cast<Index>(*call.input[1].pixel(n, i))] -= 1.0;
      channels_of(call.output, n, i) = (weight_share(call, n, i) * p).template cast<T>();
    }
}

/// max(x, 0) - x y + log(1 + exp(-|x|))
template <class T>
void binary_cross_entropy(const Call<T>& call) {
  weighted_mean(call, [](const auto& logit, double y) {
    const double x = static_cast<double>(logit[0]);
    return std::max(x, 0.0) - x * y + std::log1p(std::exp(-std::abs(x)));
  });
}

/// dx = rate w / W (sigmoid(x) - y)
template <class T>
void binary_cross_entropy_gradient(const Call<T>& call) {
  const Tensor<T>& x = call.input[0];
  for (int n = 0; n < x.batch; ++n)
    for (Index i = 0; i < x.pixels(); ++i) {
      const double error =
          sigmoid(static_cast<double>(*x.pixel(n, i))) - static_cast<double>(*call.input[1].pixel(n, i));
      *call.output.pixel(n, i) = static_cast<T>(weight_share(call, n, i) * error);
    }
}

// --- soft Dice
// --------------------------------------------------------------------------------------------------------

/// Probabilities of one pixel, and the sums I, P, Y of every class.
struct DiceBuffers {
  template <class T>
  DiceBuffers(const Call<T>& call, Workspace& w)
      : p(w.take<double>(call.input[0].shape.channels)),
        sums(w.take<double>(3 * Index{call.input[0].shape.channels})) {}
  double* p;
  double* sums;
};

/// Probabilities of pixel i: softmax, or sigmoid for one channel.
template <class T>
void probabilities_of(const Tensor<T>& logits, int n, Index i, Channels<double>& p) {
  if (logits.shape.channels == 1)
    p[0] = sigmoid(static_cast<double>(*logits.pixel(n, i)));
  else
    softmax_of(channels_of(logits, n, i), p);
}

/// The truth of class c at a pixel with this label: one-hot, or for one channel the label itself.
inline double truth_of(double label, int c, int channels) {
  return channels == 1 ? label : (static_cast<int>(label) == c ? 1.0 : 0.0);
}

/// Classes [first_counted, channels) enter the mean.
inline int first_counted(const Node& node, int channels) {
  return channels == 1 || node.dice.include_background ? 0 : 1;
}

/// D_c and its denominator, of the sums I, P, Y of class c.
struct Dice {
  double value, denominator;
};
inline Dice dice_of(const Node& node, double i, double p, double y) {
  const double denominator = p + y + static_cast<double>(node.dice.smooth_denominator);
  return {(2 * i + static_cast<double>(node.dice.smooth_numerator)) / denominator, denominator};
}

/// Record: 1 - mean of D_c, then I_c, P_c, Y_c of each class
template <class T>
void soft_dice(const Call<T>& call) {
  const Node& node = *call.node;
  const Tensor<T>& x = call.input[0];
  const int channels = x.shape.channels;
  const auto b = buffers_of<DiceBuffers>(call);
  Channels<double> p(b.p, channels);
  Channels<double> sums(b.sums, 3 * channels);
  for (int r = 0; r < (node.dice.per_sample ? x.batch : 1); ++r) {
    sums.setZero();
    const int last = node.dice.per_sample ? r + 1 : x.batch;
    for (int n = r; n < last; ++n)
      for (Index i = 0; i < x.pixels(); ++i) {
        probabilities_of(x, n, i, p);
        for (int c = 0; c < channels; ++c) {
          const double y = truth_of(static_cast<double>(*call.input[1].pixel(n, i)), c, channels);
          sums[3 * c] += p[c] * y;
          sums[3 * c + 1] += node.dice.squared ? p[c] * p[c] : p[c];
          sums[3 * c + 2] += y;
        }
      }
    double total = 0;
    const int first = first_counted(node, channels);
    for (int c = first; c < channels; ++c) total += dice_of(node, sums[3 * c], sums[3 * c + 1], sums[3 * c + 2]).value;
    auto record = record_of(call.output, r);
    record[0] = static_cast<T>(1.0 - total / (channels - first));
    record.tail(3 * channels) = sums.template cast<T>();
  }
}

/// d loss / d p_c = -(1 / counted) (2 y - q D_c) / (P_c + Y_c + smooth_denominator), through softmax or sigmoid, times
/// rate
template <class T>
void soft_dice_gradient(const Call<T>& call) {
  const Node& node = *call.node;
  const Tensor<T>& x = call.input[0];
  const int channels = x.shape.channels;
  const int first = first_counted(node, channels);
  const double scale = static_cast<double>(node.rate) / (channels - first) / (node.dice.per_sample ? x.batch : 1);
  const auto b = buffers_of<DiceBuffers>(call);
  Channels<double> p(b.p, channels);
  Channels<double> dp(b.sums, channels);
  for (int n = 0; n < x.batch; ++n) {
    const auto record = record_of(call.input[2], node.dice.per_sample ? n : 0).template cast<double>();
    for (Index i = 0; i < x.pixels(); ++i) {
      probabilities_of(x, n, i, p);
      const double label = static_cast<double>(*call.input[1].pixel(n, i));
      dp.setZero();
      for (int c = first; c < channels; ++c) {
        const Dice dice = dice_of(node, record[1 + 3 * c], record[2 + 3 * c], record[3 + 3 * c]);
        const double q = node.dice.squared ? 2 * p[c] : 1.0;
        dp[c] = -scale * (2 * truth_of(label, c, channels) - q * dice.value) / dice.denominator;
      }
      auto dx = channels_of(call.output, n, i);
      if (channels == 1)
        dx = (dp * p * (1.0 - p)).template cast<T>();
      else
        dx = (p * (dp - (dp * p).sum())).template cast<T>();
    }
  }
}

/// rate x (mean of record 0's losses) + rate2 x (mean of record 1's)
template <class T>
void weighted_sum(const Call<T>& call) {
  const auto mean_of = [](const Tensor<T>& records) {
    double sum = 0;
    for (int n = 0; n < records.batch; ++n) sum += static_cast<double>(records.sample(n)[0]);
    return sum / records.batch;
  };
  double total = static_cast<double>(call.node->rate) * mean_of(call.input[0]);
  if (call.input[1]) total += static_cast<double>(call.node->rate2) * mean_of(call.input[1]);
  call.output.data[0] = static_cast<T>(total);
}

}  // namespace ulna::eigen
