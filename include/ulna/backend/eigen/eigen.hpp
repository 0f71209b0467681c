// SPDX-License-Identifier: MIT
// The reference backend: one thread, every op, plainly written with Eigen.
#pragma once

#include "ulna/backend/backend.hpp"
#include "ulna/backend/eigen/attention.hpp"
#include "ulna/backend/eigen/convolution.hpp"
#include "ulna/backend/eigen/embedding.hpp"
#include "ulna/backend/eigen/layer_norm.hpp"
#include "ulna/backend/eigen/loss.hpp"
#include "ulna/backend/eigen/normalize.hpp"
#include "ulna/backend/eigen/pointwise.hpp"
#include "ulna/backend/eigen/pool.hpp"
#include "ulna/backend/eigen/rearrange.hpp"
#include "ulna/backend/eigen/standardize.hpp"
#include "ulna/backend/eigen/upsample.hpp"

namespace ulna::cpu {

/// The backend that says what every op means in numbers: `Eigen<double>` checks gradients and the other backends,
/// `Eigen<float>` is a fallback for any machine. Both compute in double and round when they store. Extents may have
/// depth.
///
/// Eigen's templates compile to the instructions of the translation unit that includes them: compile all translation
/// units of a program that use this backend for the same instruction set.
template <class T>
struct Eigen {
  using Element = T;

  int threads() const { return 1; }
  void run(auto&& f) const { f(); }

  /// Calls f(begin, end) for consecutive blocks of [0, count).
  void parallel_for_blocks(std::int64_t count, std::int64_t block, auto&& f) const {
    for (std::int64_t begin = 0; begin < count; begin += block) f(begin, begin + block < count ? begin + block : count);
  }

  /// The kernel of an op; null for leaves and slices, which never run.
  template <Op op>
  static constexpr Kernel<T> kernel(const Node&) {
    // clang-format off
    if constexpr (op == Op::convolution) return &eigen::convolution<T>;
    else if constexpr (op == Op::transposed_convolution) return &eigen::transposed_convolution<T>;
    else if constexpr (op == Op::convolution_weight_gradient) return &eigen::convolution_weight_gradient<T>;
    else if constexpr (op == Op::bias_gradient) return &eigen::bias_gradient<T>;
    else if constexpr (op == Op::max_pool) return &eigen::max_pool<T>;
    else if constexpr (op == Op::max_pool_gradient) return &eigen::max_pool_gradient<T>;
    else if constexpr (op == Op::average_pool) return &eigen::average_pool<T>;
    else if constexpr (op == Op::average_pool_gradient) return &eigen::average_pool_gradient<T>;
    else if constexpr (op == Op::upsample_nearest) return &eigen::upsample_nearest<T>;
    else if constexpr (op == Op::upsample_nearest_gradient) return &eigen::upsample_nearest_gradient<T>;
    else if constexpr (op == Op::upsample_bilinear) return &eigen::upsample_bilinear<T>;
    else if constexpr (op == Op::upsample_bilinear_gradient) return &eigen::upsample_bilinear_gradient<T>;
    else if constexpr (op == Op::moments) return &eigen::moments<T>;
    else if constexpr (op == Op::normalize) return &eigen::normalize<T>;
    else if constexpr (op == Op::normalize_gradient_sums) return &eigen::normalize_gradient_sums<T>;
    else if constexpr (op == Op::normalize_gradient) return &eigen::normalize_gradient<T>;
    else if constexpr (op == Op::norm_parameter_gradient) return &eigen::norm_parameter_gradient<T>;
    else if constexpr (op == Op::update_running) return &eigen::update_running<T>;
    else if constexpr (op == Op::running_affine) return &eigen::running_affine<T>;
    else if constexpr (op == Op::affine) return &eigen::affine<T>;
    else if constexpr (op == Op::fold_weight) return &eigen::fold_weight<T>;
    else if constexpr (op == Op::fold_bias) return &eigen::fold_bias<T>;
    else if constexpr (op == Op::layer_norm) return &eigen::layer_norm<T>;
    else if constexpr (op == Op::layer_norm_gradient) return &eigen::layer_norm_gradient<T>;
    else if constexpr (op == Op::layer_norm_sums) return &eigen::layer_norm_sums<T>;
    else if constexpr (op == Op::standardize_weight) return &eigen::standardize_weight<T>;
    else if constexpr (op == Op::standardize_weight_gradient) return &eigen::standardize_weight_gradient<T>;
    else if constexpr (op == Op::activation) return &eigen::activation<T>;
    else if constexpr (op == Op::activation_gradient) return &eigen::activation_gradient<T>;
    else if constexpr (op == Op::softmax) return &eigen::softmax<T>;
    else if constexpr (op == Op::softmax_gradient) return &eigen::softmax_gradient<T>;
    else if constexpr (op == Op::dropout) return &eigen::dropout<T>;
    else if constexpr (op == Op::add) return &eigen::add<T>;
    else if constexpr (op == Op::multiply) return &eigen::multiply<T>;
    else if constexpr (op == Op::scale) return &eigen::scale<T>;
    else if constexpr (op == Op::channel_dot) return &eigen::channel_dot<T>;
    else if constexpr (op == Op::add_embedding) return &eigen::add_embedding<T>;
    else if constexpr (op == Op::embedding_gradient) return &eigen::embedding_gradient<T>;
    else if constexpr (op == Op::attention) return &eigen::attention<T>;
    else if constexpr (op == Op::attention_gradient) return &eigen::attention_gradient<T>;
    else if constexpr (op == Op::concat) return &eigen::concat<T>;
    else if constexpr (op == Op::crop) return &eigen::crop<T>;
    else if constexpr (op == Op::pad) return &eigen::pad<T>;
    else if constexpr (op == Op::pad_gradient) return &eigen::pad_gradient<T>;
    else if constexpr (op == Op::cross_entropy) return &eigen::cross_entropy<T>;
    else if constexpr (op == Op::cross_entropy_gradient) return &eigen::cross_entropy_gradient<T>;
    else if constexpr (op == Op::binary_cross_entropy) return &eigen::binary_cross_entropy<T>;
    else if constexpr (op == Op::binary_cross_entropy_gradient) return &eigen::binary_cross_entropy_gradient<T>;
    else if constexpr (op == Op::soft_dice) return &eigen::soft_dice<T>;
    else if constexpr (op == Op::soft_dice_gradient) return &eigen::soft_dice_gradient<T>;
    else if constexpr (op == Op::weighted_sum) return &eigen::weighted_sum<T>;
    else {
      static_assert(op == Op::input || op == Op::parameter || op == Op::slice, "Ulna: this op has no Eigen kernel");
      return nullptr;
    }
    // clang-format on
  }

  /// Working memory of a kernel, bytes.
  template <Op op>
  static std::size_t scratch_bytes(const Call<T>& call, int) {
    using enum Op;
    if constexpr (op == convolution || op == transposed_convolution)
      return eigen::bytes_for<eigen::ProductBuffers>(call);
    else if constexpr (op == convolution_weight_gradient)
      return eigen::bytes_for<eigen::WeightGradientBuffers>(call);
    else if constexpr (op == bias_gradient || op == norm_parameter_gradient)
      return eigen::bytes_for<eigen::ChannelSums>(call);
    else if constexpr (op == normalize || op == normalize_gradient_sums || op == normalize_gradient)
      return eigen::bytes_for<eigen::NormBuffers>(call);
    else if constexpr (op == softmax || op == cross_entropy_gradient)
      return eigen::bytes_for<eigen::PixelBuffer>(call);
    else if constexpr (op == attention || op == attention_gradient)
      return eigen::bytes_for<eigen::AttentionBuffers>(call);
    else if constexpr (op == soft_dice || op == soft_dice_gradient)
      return eigen::bytes_for<eigen::DiceBuffers>(call);
    else if constexpr (op == max_pool_gradient || op == average_pool || op == average_pool_gradient ||
                       op == upsample_nearest_gradient || op == layer_norm_sums || op == upsample_bilinear ||
                       op == upsample_bilinear_gradient || op == pad_gradient)
      return eigen::bytes_for<eigen::OutputSums>(call);
    else
      return 0;
  }
};

static_assert(CpuBackend<Eigen<float>> && CpuBackend<Eigen<double>>);

}  // namespace ulna::cpu
