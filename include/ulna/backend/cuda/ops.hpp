// SPDX-License-Identifier: MIT
// Every op of the CUDA backend but the convolutions, by its Op.
#pragma once

#include "ulna/backend/cuda/attention.hpp"
#include "ulna/backend/cuda/bias_gradient.hpp"
#include "ulna/backend/cuda/layer_norm.hpp"
#include "ulna/backend/cuda/loss.hpp"
#include "ulna/backend/cuda/normalize.hpp"
#include "ulna/backend/cuda/pointwise.hpp"
#include "ulna/backend/cuda/pool.hpp"
#include "ulna/backend/cuda/rearrange.hpp"
#include "ulna/backend/cuda/upsample.hpp"

namespace ulna::cuda {

constexpr bool is_convolution(Op op) {
  return op == Op::convolution || op == Op::transposed_convolution || op == Op::convolution_weight_gradient;
}

/// How an Execution does an op; null for leaves and slices, which never run. A: how attention multiplies.
template <Op op, class Execution, class T, Arithmetic A = Arithmetic::exact>
constexpr auto launcher() -> void (*)(const Execution&, const Call<T>&) {
  // clang-format off
  if constexpr (op == Op::bias_gradient) return &bias_gradient<Execution, T>;
  else if constexpr (op == Op::max_pool) return &max_pool<Execution, T>;
  else if constexpr (op == Op::max_pool_gradient) return &max_pool_gradient<Execution, T>;
  else if constexpr (op == Op::average_pool) return &average_pool<Execution, T>;
  else if constexpr (op == Op::average_pool_gradient) return &average_pool_gradient<Execution, T>;
  else if constexpr (op == Op::upsample_nearest) return &upsample_nearest<Execution, T>;
  else if constexpr (op == Op::upsample_nearest_gradient) return &upsample_nearest_gradient<Execution, T>;
  else if constexpr (op == Op::upsample_bilinear) return &upsample_bilinear<Execution, T>;
  else if constexpr (op == Op::upsample_bilinear_gradient) return &upsample_bilinear_gradient<Execution, T>;
  else if constexpr (op == Op::moments) return &moments<Execution, T>;
  else if constexpr (op == Op::normalize) return &normalize<Execution, T>;
  else if constexpr (op == Op::normalize_gradient_sums) return &normalize_gradient_sums<Execution, T>;
  else if constexpr (op == Op::normalize_gradient) return &normalize_gradient<Execution, T>;
  else if constexpr (op == Op::norm_parameter_gradient) return &norm_parameter_gradient<Execution, T>;
  else if constexpr (op == Op::update_running) return &update_running<Execution, T>;
  else if constexpr (op == Op::running_affine) return &running_affine<Execution, T>;
  else if constexpr (op == Op::affine) return &affine<Execution, T>;
  else if constexpr (op == Op::fold_weight) return &fold_weight<Execution, T>;
  else if constexpr (op == Op::fold_bias) return &fold_bias<Execution, T>;
  else if constexpr (op == Op::layer_norm) return &layer_norm<Execution, T>;
  else if constexpr (op == Op::layer_norm_gradient) return &layer_norm_gradient<Execution, T>;
  else if constexpr (op == Op::layer_norm_sums) return &layer_norm_sums<Execution, T>;
  else if constexpr (op == Op::standardize_weight) return &standardize_weight<Execution, T>;
  else if constexpr (op == Op::standardize_weight_gradient) return &standardize_weight_gradient<Execution, T>;
  else if constexpr (op == Op::activation) return &activation<Execution, T>;
  else if constexpr (op == Op::activation_gradient) return &activation_gradient<Execution, T>;
  else if constexpr (op == Op::softmax) return &softmax<Execution, T>;
  else if constexpr (op == Op::softmax_gradient) return &softmax_gradient<Execution, T>;
  else if constexpr (op == Op::dropout) return &dropout<Execution, T>;
  else if constexpr (op == Op::add) return &add<Execution, T>;
  else if constexpr (op == Op::multiply) return &multiply<Execution, T>;
  else if constexpr (op == Op::scale) return &scale<Execution, T>;
  else if constexpr (op == Op::channel_dot) return &channel_dot<Execution, T>;
  else if constexpr (op == Op::add_embedding) return &add_embedding<Execution, T>;
  else if constexpr (op == Op::embedding_gradient) return &embedding_gradient<Execution, T>;
  else if constexpr (op == Op::attention) return &attention<A, Execution, T>;
  else if constexpr (op == Op::attention_gradient) return &attention_gradient<A, Execution, T>;
  else if constexpr (op == Op::concat) return &concat<Execution, T>;
  else if constexpr (op == Op::crop) return &crop<Execution, T>;
  else if constexpr (op == Op::pad) return &pad<Execution, T>;
  else if constexpr (op == Op::pad_gradient) return &pad_gradient<Execution, T>;
  else if constexpr (op == Op::cross_entropy) return &cross_entropy<Execution, T>;
  else if constexpr (op == Op::cross_entropy_gradient) return &cross_entropy_gradient<Execution, T>;
  else if constexpr (op == Op::binary_cross_entropy) return &binary_cross_entropy<Execution, T>;
  else if constexpr (op == Op::binary_cross_entropy_gradient) return &binary_cross_entropy_gradient<Execution, T>;
  else if constexpr (op == Op::soft_dice) return &soft_dice<Execution, T>;
  else if constexpr (op == Op::soft_dice_gradient) return &soft_dice_gradient<Execution, T>;
  else if constexpr (op == Op::weighted_sum) return &weighted_sum<Execution, T>;
  else {
    static_assert(is_leaf(op) || op == Op::slice || op == Op::count, "Ulna: this op has no CUDA kernel");
    return nullptr;
  }
  // clang-format on
}

/// Working memory that the op needs for this call, bytes; its data pointers need not be set.
template <Op op, class T>
std::size_t scratch_bytes(const Call<T>& call) {
  using enum Op;
  if constexpr (op == bias_gradient)
    return bytes_for<BiasGradientBuffers>(call);
  else if constexpr (op == moments)
    return bytes_for<MomentsBuffers>(call);
  else if constexpr (op == normalize_gradient_sums)
    return bytes_for<NormGradientSumsBuffers>(call);
  else if constexpr (op == normalize_gradient)
    return bytes_for<NormGradientBuffers>(call);
  else if constexpr (op == layer_norm)
    return bytes_for<LayerNormBuffers>(call);
  else if constexpr (op == layer_norm_sums)
    return bytes_for<LayerNormSumsBuffers>(call);
  else if constexpr (op == layer_norm_gradient)
    return bytes_for<LayerNormGradientBuffers>(call);
  else if constexpr (op == standardize_weight || op == standardize_weight_gradient)
    return bytes_for<StandardizeBuffers>(call);
  else if constexpr (op == attention_gradient)
    return bytes_for<AttentionGradientBuffers>(call);
  else if constexpr (op == cross_entropy || op == binary_cross_entropy)
    return bytes_for<PixelLossBuffers>(call);
  else if constexpr (op == soft_dice)
    return bytes_for<DiceBuffers>(call);
  else
    return 0;
}

}  // namespace ulna::cuda
