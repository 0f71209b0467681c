// SPDX-License-Identifier: MIT
// The nodes of a lowered network: plain values, no types, no pointers to run-time data.
#pragma once

#include <array>
#include <cstdint>

#include "ulna/graph/shape.hpp"
#include "ulna/graph/window.hpp"

namespace ulna {

/// What a node does. `op/<name>.hpp` states each one's meaning, shape rule, gradient rule and cost.
enum class Op : std::uint8_t {
  // leaves
  input,
  parameter,
  // convolution
  convolution,
  transposed_convolution,
  convolution_weight_gradient,
  bias_gradient,
  // pooling and resampling
  max_pool,
  max_pool_gradient,
  average_pool,
  average_pool_gradient,
  upsample_nearest,
  upsample_nearest_gradient,
  upsample_bilinear,
  upsample_bilinear_gradient,
  // normalisation
  moments,
  normalize,
  normalize_gradient_sums,
  normalize_gradient,
  norm_parameter_gradient,
  update_running,
  running_affine,
  affine,
  fold_weight,
  fold_bias,
  layer_norm,
  layer_norm_gradient,
  layer_norm_sums,
  standardize_weight,
  standardize_weight_gradient,
  // pointwise
  activation,
  activation_gradient,
  softmax,
  softmax_gradient,
  dropout,
  add,
  multiply,
  scale,
  channel_dot,
  add_embedding,
  embedding_gradient,
  // attention
  attention,
  attention_gradient,
  // rearranging
  concat,
  slice,
  crop,
  pad,
  pad_gradient,
  // losses
  cross_entropy,
  cross_entropy_gradient,
  binary_cross_entropy,
  binary_cross_entropy_gradient,
  soft_dice,
  soft_dice_gradient,
  weighted_sum,
  count
};

enum class Activation : std::uint8_t { none, relu, leaky_relu, sigmoid, gelu };

/// What a convolution adds to its result in the same pass, from an input of the result's shape: at inference only, see
/// graph/fuse.hpp.
enum class ResidualSum : std::uint8_t {
  none,
  before_activation,  ///< act( sums + bias + residual )
  after_activation    ///< act( sums + bias ) + residual
};

/// Whether training computes a value twice, see graph/recompute.hpp.
enum class Repeat : std::uint8_t {
  no,
  dropped,  ///< after the forward pass
  again     ///< in the backward pass
};

/// How a weight lies in memory. Packed ones are for the kernels of one backend; see predict/frozen.hpp.
enum class WeightOrder : std::uint8_t {
  rows,        ///< [tap][in][out]
  blocks,      ///< packed: [out / 64][in][tap][64]
  pair_blocks  ///< packed, of 1x1 convolutions: [out / 64][in / 2][64][2] of bf16, two in the room of a float
};

/// Outputs of a block of a packed weight, whatever the width of vectors is.
inline constexpr int weight_block = 64;

/// Whether a weight of so many channels is whole blocks. (AMX takes 32 channels at a time.)
constexpr bool can_be_packed(int in, int out) { return in % 32 == 0 && out % weight_block == 0; }

/// A handle to a node's output.
struct Value {
  int id = -1;
  constexpr bool operator==(const Value&) const = default;
  constexpr explicit operator bool() const { return id >= 0; }
};

/// A dense skip row of U-Net++ has five inputs; longer lists are chained.
inline constexpr int max_inputs = 6;

/// Which pixels share one mean and variance.
struct NormAttributes {
  int groups = 0;           ///< channel groups that share statistics; equal to the channels for batch and instance norm
  bool over_batch = false;  ///< true: statistics over the whole batch (batch norm); false: per sample
  float epsilon = 1e-5f;
  float momentum = 0.1f;  ///< running = (1 - momentum) running + momentum current

  constexpr bool operator==(const NormAttributes&) const = default;
};

/// The conventions of a soft Dice loss, see op/soft_dice.hpp.
struct DiceAttributes {
  float smooth_numerator = 1.0f;
  float smooth_denominator = 1.0f;
  bool squared = false;            ///< denominators sum p^2 + y^2 rather than p + y
  bool include_background = true;  ///< class 0 counts
  bool per_sample = false;         ///< sums over each sample, then the mean; false: sums over the batch

  constexpr bool operator==(const DiceAttributes&) const = default;
};

/// One operation and its output.
struct Node {
  Op op = Op::input;
  Shape shape{};  ///< of the output, for one sample
  std::array<int, max_inputs> input{-1, -1, -1, -1, -1, -1};
  int scope = 0;               ///< the layer that made it
  int parameter = -1;          ///< leaf: which parameter it is
  int gradient_of = -1;        ///< output goes to the gradient of this parameter
  bool per_sample = true;      ///< false: one record for the whole batch (statistics, losses, parameter-like)
  bool once = false;           ///< depends on parameters alone: evaluated when they change, not at every run
  bool accumulate = false;     ///< adds to its output instead of overwriting it
  bool swap_channels = false;  ///< the weight's two channel axes change roles (adjoint of a convolution)
  Repeat repeat = Repeat::no;
  Activation activation = Activation::none;  ///< applied to the output in the same pass
  ResidualSum residual = ResidualSum::none;  ///< of a convolution: how input 3 is added
  float slope = 0.01f;                       ///< of leaky ReLU, for x < 0
  bool pooled = false;                       ///< a convolution computes a max pool of its output too; both say so
  float rate = 0.0f;                         ///< dropout probability; weight of a loss; factor of scale
  float rate2 = 0.0f;                        ///< weight of the second term of weighted_sum
  int begin = 0;                             ///< first channel of a slice; dropout's stream number
  int heads = 0;                             ///< of attention
  WeightOrder weight_order{};                ///< of the weight of a convolution
  bool align_corners = false;                ///< bilinear: corner pixels map to corner pixels
  Window window{};
  NormAttributes norm{};
  DiceAttributes dice{};

  /// Up to the last one that is there. Before it one may be missing (-1): the bias of a convolution with a residual.
  constexpr int inputs() const {
    int n = max_inputs;
    while (n > 0 && input[static_cast<std::size_t>(n - 1)] < 0) --n;
    return n;
  }
};

/// The input of a convolution that holds its residual.
inline constexpr int residual_input = 3;

constexpr bool is_leaf(Op op) { return op == Op::input || op == Op::parameter; }

/// Whether an op is computed. Leaves are filled by others, slices are views.
constexpr bool has_kernel(Op op) { return !is_leaf(op) && op != Op::slice; }

/// Whether a node is computed on its own: it has a kernel, and no convolution computes it beside its own output.
constexpr bool runs(const Node& n) { return has_kernel(n.op) && !(n.op == Op::max_pool && n.pooled); }

/// Whether a node's output is an image of activations, or a gradient of one. Everything else (parameters, what is
/// computed from them, statistics, losses) is small, or does not grow with the batch.
constexpr bool is_activation(const Node& n) {
  switch (n.op) {
    case Op::moments:
    case Op::normalize_gradient_sums:
    case Op::layer_norm_sums:
    case Op::soft_dice:
      return false;  // sums over the pixels of each sample
    default:
      return n.per_sample;
  }
}

}  // namespace ulna
