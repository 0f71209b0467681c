// SPDX-License-Identifier: MIT
// Losses on logits and their gradients: see op/loss.hpp for the formulas.
//
// Terms of a pixel are computed in float and summed in double, over parts of each sample that depend on the shape
// alone.
#pragma once

#include <cmath>

#include "ulna/backend/tbb/pointwise.hpp"

namespace ulna::tbb_kernels {

/// Parts of a sample whose sums are kept apart.
[[gnu::always_inline]] inline int loss_parts(const Shape& logits) { return fixed_parts(logits.pixels(), 4096, 64); }

/// A pixel buffer for each thread, then `sums` doubles for each part.
template <class Isa, class T = float>
std::size_t loss_bytes(const Call<T>& call, int threads, int sums) {
  const Tensor<T>& x = call.input[0];
  const std::size_t buffer = sizeof(float) * static_cast<std::size_t>(std::max(1024, x.shape.channels));
  return aligned_bytes(buffer) * static_cast<std::size_t>(threads) +
         aligned_bytes(sizeof(double) * static_cast<std::size_t>(sums)) *
             static_cast<std::size_t>(loss_parts(x.shape) * x.batch);
}

/// Calls add(sample, run, buffer, sums) for runs of pixels that fit the buffer, then finish(record, sums): once a
/// sample, or once for the batch.
template <class Isa, class T, class F, class G>
void sum_loss(const Call<T>& call, int sums, bool per_sample, const F& add, const G& finish) {
  const Tensor<T>& x = call.input[0];
  const int parts = loss_parts(x.shape);
  const int channels = x.shape.channels;
  const std::size_t buffer_bytes = sizeof(float) * static_cast<std::size_t>(std::max(1024, channels));
  const std::size_t sum_bytes = sizeof(double) * static_cast<std::size_t>(sums);
  const std::size_t buffers = aligned_bytes(buffer_bytes) * static_cast<std::size_t>(thread_count());
  const auto sums_of = [&](int task) { return scratch_piece<double>(call.scratch, buffers, sum_bytes, task); };
  parallel_tasks<Isa>(x.batch * parts, [&](int task) {
    float* buffer = scratch_piece<float>(call.scratch, 0, buffer_bytes, thread_slot());
    std::fill_n(sums_of(task), sums, 0.0);
    const Range part = part_of(x.pixels(), parts, task % parts);
    const std::ptrdiff_t each = pixels_at_once(channels);
    for (std::ptrdiff_t begin = part.begin; begin < part.end; begin += each)
      add(task / parts, Range{begin, std::min(begin + each, part.end)}, buffer, sums_of(task));
  });
  const int records = per_sample ? x.batch : 1;
  const int tasks = x.batch * parts / records;
  for (int record = 0; record < records; ++record) {
    double* total = sums_of(record * tasks);
    for (int task = 1; task < tasks; ++task)
      for (int i = 0; i < sums; ++i) total[i] += sums_of(record * tasks + task)[i];
    finish(record, total);
  }
}

/// The weight of a pixel; 1 where there are none.
[[gnu::always_inline]] inline float weight_at(const Tensor<float>& weights, int n, std::ptrdiff_t p) {
  return weights ? *weights.pixel(n, p) : 1.0f;
}

[[gnu::always_inline]] inline void store_mean(float* record, const double* sums) {
  record[0] = static_cast<float>(sums[1] > 0 ? sums[0] / sums[1] : 0.0);
  record[1] = static_cast<float>(sums[1]);
}

/// What a pixel's gradient is multiplied with, apart from its own weight.
template <class T>
[[gnu::always_inline]] inline float gradient_scale(const Call<T>& call) {
  const float total = held_as<float>(call.input[2]).data[1];
  return total > 0 ? call.node->rate / total : 0.0f;
}

// --- cross-entropy ---

/// record {2} = (1 / W) sum w (log sum_k exp(x_k) - x_label), W
template <class Isa, class T = float>
void cross_entropy(const Call<T>& call) {
  const Tensor<T>& x = call.input[0];
  const Tensor<float> labels = held_as<float>(call.input[1]);
  const Tensor<float> weights = held_as<float>(call.input[2]);
  const int channels = x.shape.channels;
  const auto add = [&](int n, Range run, float* e, double* sums) {
    exp_over_channels<Isa, T>({x.pixel(n, run.begin), x.pixel_stride}, {e, channels}, run.size(), channels);
    for (std::ptrdiff_t p = run.begin; p < run.end; ++p, e += channels) {
      const T* logits = x.pixel(n, p);
      float sum = 0;
      float top = logits[0];
      for (int c = 0; c < channels; ++c) {
        sum += e[c];
        top = logits[c] > top ? static_cast<float>(logits[c]) : top;
      }
      const double weight = static_cast<double>(weight_at(weights, n, p));
      const auto label = static_cast<int>(*labels.pixel(n, p));
      sums[0] += weight * static_cast<double>(std::log(sum) + (top - logits[label]));
      sums[1] += weight;
    }
  };
  sum_loss<Isa>(call, 2, false, add,
                [&](int, const double* sums) { store_mean(held_as<float>(call.output).data, sums); });
}

/// Inputs logits, labels, record, [weights]: dx_c = rate w / W (softmax_c - [c = label])
template <class Isa, class T = float>
void cross_entropy_gradient(const Call<T>& call) {
  const Tensor<T>& x = call.input[0];
  const Tensor<float> labels = held_as<float>(call.input[1]);
  const Tensor<float> weights = held_as<float>(call.input[3]);
  const int channels = x.shape.channels;
  const float scale = gradient_scale(call);
  for_each_run<Isa>(call.output, [&](int n, Range run) {
    const RunResult<Isa, T> result(call, n, run);
    softmax_pixels<Isa, T>({x.pixel(n, run.begin), x.pixel_stride}, result.floats, run.size(), channels);
    for (std::ptrdiff_t p = run.begin; p < run.end; ++p) {
      float* g = result.floats.pixel(p - run.begin);
      g[static_cast<int>(*labels.pixel(n, p))] -= 1.0f;
      const float weight = scale * weight_at(weights, n, p);
      for (int c = 0; c < channels; ++c) g[c] *= weight;
    }
    result.finish();
  });
}

/// record {2} = (1 / W) sum w (max(x, 0) - x y + log(1 + exp(-|x|))), W
template <class Isa, class T = float>
void binary_cross_entropy(const Call<T>& call) {
  const Tensor<T>& x = call.input[0];
  const Tensor<float> labels = held_as<float>(call.input[1]);
  const Tensor<float> weights = held_as<float>(call.input[2]);
  const auto add = [&](int n, Range run, float* e, double* sums) {
    for (std::ptrdiff_t p = run.begin; p < run.end; ++p)
      e[p - run.begin] = -std::abs(static_cast<float>(*x.pixel(n, p)));
    exp_in_place<Isa>(e, run.size());
    for (std::ptrdiff_t p = run.begin; p < run.end; ++p, ++e) {
      const float logit = *x.pixel(n, p);
      const double weight = static_cast<double>(weight_at(weights, n, p));
      const float smaller = logit > 0 ? logit - logit * *labels.pixel(n, p) : -logit * *labels.pixel(n, p);
      sums[0] += weight * static_cast<double>(smaller + std::log1p(*e));
      sums[1] += weight;
    }
  };
  sum_loss<Isa>(call, 2, false, add,
                [&](int, const double* sums) { store_mean(held_as<float>(call.output).data, sums); });
}

/// Inputs logits, labels, record, [weights]: dx = rate w / W (sigmoid(x) - y)
template <class Isa, class T = float>
void binary_cross_entropy_gradient(const Call<T>& call) {
  const Tensor<T>& x = call.input[0];
  const Tensor<float> labels = held_as<float>(call.input[1]);
  const Tensor<float> weights = held_as<float>(call.input[3]);
  const float scale = gradient_scale(call);
  for_each_run<Isa>(call.output, [&](int n, Range run) {
    const RunResult<Isa, T> result(call, n, run);
    probabilities<Isa>(x, n, run, result.floats);
    for (std::ptrdiff_t p = run.begin; p < run.end; ++p) {
      float& g = *result.floats.pixel(p - run.begin);
      g = (g - *labels.pixel(n, p)) * (scale * weight_at(weights, n, p));
    }
    result.finish();
  });
}

// --- soft Dice ---

/// Probabilities of a run of pixels: softmax, or the sigmoid of a single channel.
template <class Isa, class T>
void probabilities(const Tensor<T>& x, int n, Range run, PixelRun<float> to) {
  if (x.shape.channels > 1)
    return softmax_pixels<Isa, T>({x.pixel(n, run.begin), x.pixel_stride}, to, run.size(), x.shape.channels);
  using V = FloatVec<Isa>;
  using One = Vec<float, 1>;
  for (std::ptrdiff_t p = run.begin; p < run.end; ++p) *to.pixel(p - run.begin) = *x.pixel(n, p);
  if (to.stride == 1) {
    std::ptrdiff_t p = 0;
    for (; p + V::width <= run.size(); p += V::width) sigmoid(V::load(to.data + p)).store(to.data + p);
    for (; p < run.size(); ++p) sigmoid(One::load(to.data + p)).store(to.data + p);
  } else {
    for (std::ptrdiff_t p = 0; p < run.size(); ++p) sigmoid(One::load(to.pixel(p))).store(to.pixel(p));
  }
}

/// The conventions of a soft Dice loss over `classes` channels.
struct DiceTerms {
  DiceAttributes dice;
  int classes;

  /// The first class that counts.
  int first() const { return classes > 1 && !dice.include_background ? 1 : 0; }
  int counted() const { return classes - first(); }
  double denominator(double p, double y) const { return p + y + static_cast<double>(dice.smooth_denominator); }
  double coefficient(double i, double p, double y) const {
    return (2 * i + static_cast<double>(dice.smooth_numerator)) / denominator(p, y);
  }
};

/// record {1 + 3 C} = 1 - mean of D_c, then I_c, P_c, Y_c of each class
template <class Isa, class T = float>
void soft_dice(const Call<T>& call) {
  const Tensor<T>& x = call.input[0];
  const Tensor<float> labels = held_as<float>(call.input[1]);
  const int classes = x.shape.channels;
  const DiceTerms terms{call.node->dice, classes};
  const auto add = [&](int n, Range run, float* buffer, double* sums) {
    probabilities<Isa>(x, n, run, {buffer, classes});
    for (std::ptrdiff_t p = run.begin; p < run.end; ++p, buffer += classes) {
      for (int c = 0; c < classes; ++c) {
        const double probability = static_cast<double>(buffer[c]);
        sums[3 * c + 1] += terms.dice.squared ? probability * probability : probability;
      }
      const float label = *labels.pixel(n, p);
      const int c = classes > 1 ? static_cast<int>(label) : 0;
      const double y = classes > 1 ? 1.0 : static_cast<double>(label);
      sums[3 * c] += y * static_cast<double>(buffer[c]);
      sums[3 * c + 2] += y;
    }
  };
  sum_loss<Isa>(call, 3 * classes, call.node->dice.per_sample, add, [&](int record, const double* sums) {
    float* out = held_as<float>(call.output).sample(record);
    double mean = 0;
    for (int c = terms.first(); c < classes; ++c)
      mean += terms.coefficient(sums[3 * c], sums[3 * c + 1], sums[3 * c + 2]) / terms.counted();
    out[0] = static_cast<float>(1.0 - mean);
    for (int i = 0; i < 3 * classes; ++i) out[1 + i] = static_cast<float>(sums[i]);
  });
}

/// Slopes of each class of each record.
template <class T>
std::size_t soft_dice_slopes_bytes(const Call<T>& call) {
  const int records = call.node->dice.per_sample ? call.input[0].batch : 1;
  return aligned_bytes(sizeof(float) * static_cast<std::size_t>(2 * call.input[0].shape.channels * records));
}

/// Inputs logits, labels, record. d loss / d p_c = at_label_c y_c + everywhere_c (p_c when squared), then through the
/// softmax or sigmoid: dx_c = p_c (g_c - sum_k g_k p_k), or p (1 - p) g.
template <class Isa, class T = float>
void soft_dice_gradient(const Call<T>& call) {
  const Tensor<T>& x = call.input[0];
  const Tensor<float> labels = held_as<float>(call.input[1]);
  const Tensor<float> record = held_as<float>(call.input[2]);
  const int classes = x.shape.channels;
  const DiceTerms terms{call.node->dice, classes};
  const int records = terms.dice.per_sample ? x.batch : 1;
  float* slopes = reinterpret_cast<float*>(call.scratch.data());  // at_label, everywhere of each class of each record
  for (int r = 0; r < records; ++r)
    for (int c = 0; c < classes; ++c) {
      const float* sums = record.sample(r) + 1 + 3 * c;
      const double i = static_cast<double>(sums[0]), p = static_cast<double>(sums[1]), y = static_cast<double>(sums[2]);
      const double share = c < terms.first() ? 0.0 : static_cast<double>(call.node->rate) / (terms.counted() * records);
      const double scale = share / terms.denominator(p, y);
      float* slope = slopes + 2 * (r * classes + c);
      slope[0] = static_cast<float>(-2 * scale);
      slope[1] = static_cast<float>((terms.dice.squared ? 2 : 1) * scale * terms.coefficient(i, p, y));
    }
  for_each_run<Isa>(call.output, [&](int n, Range run) {
    const RunResult<Isa, T> result(call, n, run, soft_dice_slopes_bytes(call));
    probabilities<Isa>(x, n, run, result.floats);
    const float* slope = slopes + (terms.dice.per_sample ? 2 * n * classes : 0);
    for (std::ptrdiff_t p = run.begin; p < run.end; ++p) {
      float* out = result.floats.pixel(p - run.begin);
      const float label = *labels.pixel(n, p);
      const auto everywhere = [&](int c) { return slope[2 * c + 1] * (terms.dice.squared ? out[c] : 1.0f); };
      if (classes == 1) {
        *out *= (1.0f - *out) * (slope[0] * label + everywhere(0));
        continue;
      }
      const auto at = static_cast<int>(label);
      float dot = slope[2 * at] * out[at];
      for (int c = 0; c < classes; ++c) dot += everywhere(c) * out[c];
      for (int c = 0; c < classes; ++c) out[c] *= everywhere(c) + (c == at ? slope[2 * c] : 0.0f) - dot;
    }
    result.finish();
  });
}

/// {1} = rate x mean of the first record's loss + rate2 x mean of the second's
template <class Isa>
void weighted_sum(const Call<float>& call) {
  const auto mean = [](const Tensor<float>& record) {
    double sum = 0;
    for (int n = 0; n < record.batch; ++n) sum += static_cast<double>(record.sample(n)[0]);
    return sum / record.batch;
  };
  double total = static_cast<double>(call.node->rate) * mean(call.input[0]);
  if (call.input[1]) total += static_cast<double>(call.node->rate2) * mean(call.input[1]);
  call.output.data[0] = static_cast<float>(total);
}

}  // namespace ulna::tbb_kernels
