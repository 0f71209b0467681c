// SPDX-License-Identifier: MIT
// Recurrent residual convolutions (Alom et al., "Recurrent Residual Convolutional Neural Network based on U-Net
// (R2U-Net) for Medical Image Segmentation", 2018).
#pragma once

#include "ulna/block/conv_block.hpp"

namespace ulna {

struct steps_question {};

/// How often a recurrent convolution is applied again after the first time: the paper's t.
template <int Count>
struct Steps {
  static_assert(Count >= 0, "Steps: Count must be at least 0");
  using option = steps_question;
  static constexpr int value = Count;
};

namespace recurrent {
struct kernel_question {};
struct statistics_question {};

/// One kernel f for input and state, as popular code has it: y = f(x), then t times y = f(x + y).
struct SharedKernel {
  using option = kernel_question;
  static constexpr bool separate = false;
};
/// A kernel for the input and one for the state, as the paper has it. W_f x is computed once:
///   s_0 = act(norm(W_f x + b)), s_k = act(norm(W_f x + b + W_r s_(k-1))), k = 1 .. t
struct SeparateKernels {
  using option = kernel_question;
  static constexpr bool separate = true;
};

/// Each step keeps running statistics of its own; scale and shift are shared. The steps' inputs differ in distribution
/// (x, then x + y), and training normalises each step by its own batch: statistics shared by all steps fit none of
/// them, so that the network infers with numbers it was not trained with.
struct StatisticsPerStep {
  using option = statistics_question;
  static constexpr bool per_step = true;
};
/// All steps share the running statistics: popular code, and its weights.
struct SharedStatistics {
  using option = statistics_question;
  static constexpr bool per_step = false;
};
}  // namespace recurrent

namespace detail {
/// A norm that is applied at several steps: scale and shift once, running statistics (where it keeps any) `Sets` times.
template <class Norm, int Sets>
class RepeatedNorm {
 public:
  constexpr RepeatedNorm(Builder& b, int channels) {
    const auto s = b.scope("norm");
    affine_ = Norm::affine(b, channels);
    if constexpr (Sets == 1) {
      statistics_[0] = Norm::statistics(b, channels);
    } else {
      for (int step = 0; step < Sets; ++step) {
        const auto of_step = b.scope("step", step);
        statistics_[step] = Norm::statistics(b, channels);
      }
    }
  }

  constexpr Value apply(Builder& b, Value x, int step) const {
    return Norm::apply(b, x, affine_, statistics_[Sets == 1 ? 0 : step]);
  }

 private:
  norm::Affine affine_{};
  norm::Statistics statistics_[Sets]{};
};
}  // namespace detail

/// A recurrent convolution: a 3x3 convolution with norm and activation that also sees its own result, t times. It keeps
/// the channels, and the extent too unless the style's padding is valid. Options (default first):
///   Steps<2>
///   recurrent::SharedKernel | SeparateKernels
///   recurrent::StatisticsPerStep | SharedStatistics
/// Parameters: conv.{weight, bias}, recurrent.weight (separate kernels), norm.{weight, bias},
/// norm.[step.K.]running_{mean, var}.
template <class S = Style<>, Option... Options>
struct Recurrent {
  static constexpr int steps = pick<steps_question, Steps<2>, Options...>::value;
  static constexpr bool separate = pick<recurrent::kernel_question, recurrent::SharedKernel, Options...>::separate;
  static constexpr bool per_step =
      pick<recurrent::statistics_question, recurrent::StatisticsPerStep, Options...>::per_step;
  static_assert(answers<steps_question, Options...> + answers<recurrent::kernel_question, Options...> +
                        answers<recurrent::statistics_question, Options...> ==
                    static_cast<int>(sizeof...(Options)),
                "Recurrent: an option answers a question that recurrent convolutions do not ask");

  static constexpr Value lower(Builder& b, Value x) {
    const layer::ConvOptions o{.channels = b.shape(x).channels, .kernel = 3, .padding = S::padding, .bias = S::bias};
    const layer::ConvParameters forward = parameters(b, x, o, "conv");
    if constexpr (separate) {
      layer::ConvOptions unbiased = o;
      unbiased.bias = false;
      const layer::ConvParameters back = steps > 0 ? parameters(b, x, unbiased, "recurrent") : layer::ConvParameters{};
      const Norms norms{b, o.channels};
      const Value fed = layer::apply_conv(b, x, forward, o);
      return unrolled(b, norms, fed, [&](Value y) {
        const Value returned = layer::apply_conv(b, y, back, unbiased);
        return sum(b, fed, returned);
      });
    } else {
      const Norms norms{b, o.channels};
      return unrolled(b, norms, layer::apply_conv(b, x, forward, o),
                      [&](Value y) { return layer::apply_conv(b, sum(b, x, y), forward, o); });
    }
  }

 private:
  using Norms = detail::RepeatedNorm<typename S::norm_layer, per_step ? steps + 1 : 1>;

  static constexpr layer::ConvParameters parameters(Builder& b, Value x, const layer::ConvOptions& o,
                                                    const char* name) {
    const auto s = b.scope(name);
    return layer::conv_parameters(b, b.shape(x).channels, b.shape(x).depth == 1, o);
  }

  /// x + y, x cropped to what valid convolutions left of y.
  static constexpr Value sum(Builder& b, Value x, Value y) {
    return op::add(b, op::crop(b, x, b.shape(y).extent()), y);
  }

  /// act(norm(first)), then t times act(norm(again(y))).
  static constexpr Value unrolled(Builder& b, const Norms& norms, Value first, auto&& again) {
    Value y = S::activation_layer::lower(b, norms.apply(b, first, 0));
    for (int step = 1; step <= steps; ++step) {
      const auto s = b.scope("step", step);
      y = S::activation_layer::lower(b, norms.apply(b, again(y), step));
    }
    return y;
  }
};

/// Whether a block's input is added to its result.
namespace shortcut {
struct question {};
struct Add {
  using option = question;
  static constexpr bool present = true;
};
struct None {
  using option = question;
  static constexpr bool present = false;
};
}  // namespace shortcut

/// The block of the R2U-Net: with p a 1x1 convolution of x to `channels`, p + recurrent(recurrent(p)); no activation
/// after the sum. Options: those of Recurrent; shortcut::Add | None. Steps<0> is a residual block without recurrence,
/// shortcut::None a recurrent block that is not residual.
template <class S = Style<>, Option... Options>
struct R2Block {
  static_assert(answers<steps_question, Options...> + answers<recurrent::kernel_question, Options...> +
                        answers<recurrent::statistics_question, Options...> + answers<shortcut::question, Options...> ==
                    static_cast<int>(sizeof...(Options)),
                "R2Block: an option answers a question that R2 blocks do not ask");
  using Unit = Recurrent<S, pick<steps_question, Steps<2>, Options...>,
                         pick<recurrent::kernel_question, recurrent::SharedKernel, Options...>,
                         pick<recurrent::statistics_question, recurrent::StatisticsPerStep, Options...>>;

  static constexpr Value lower(Builder& b, Value x, int channels) {
    const Value projected = layer::conv(b, x, {.channels = channels, .kernel = 1, .padding = Padding::valid}, "proj");
    Value y = unit(b, unit(b, projected, "rec1"), "rec2");
    if constexpr (pick<shortcut::question, shortcut::Add, Options...>::present)
      y = op::add(b, op::crop(b, projected, b.shape(y).extent()), y);
    return S::dropout_layer::lower(b, y);
  }

 private:
  static constexpr Value unit(Builder& b, Value x, const char* name) {
    const auto s = b.scope(name);
    return Unit::lower(b, x);
  }
};

/// Two convolutions and a shortcut, no recurrence: the block of the ResU-Net that the R2U-Net paper compares with.
template <class S = Style<>>
using ResBlock = R2Block<S, Steps<0>>;

/// Recurrent convolutions without shortcut: the block of its RU-Net.
template <class S = Style<>, Option... Options>
using RecurrentBlock = R2Block<S, Options..., shortcut::None>;

}  // namespace ulna
