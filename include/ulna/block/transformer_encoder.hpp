// SPDX-License-Identifier: MIT
// The vision transformer (Dosovitskiy et al. 2021): an image becomes a map of tokens, and every token attends to all.
// Tokens stay a map: what others flatten to a sequence is here {Hidden, H / Patch, W / Patch}, row by row.
#pragma once

#include "ulna/layer/activation.hpp"
#include "ulna/layer/conv.hpp"
#include "ulna/layer/norm.hpp"

namespace ulna {

/// {C, H, W} -> {Hidden, H / Patch, W / Patch}: each patch through one matrix, plus a learned vector for its place.
/// The extents must be multiples of Patch. The learned positions make the parameters depend on the extent: a model for
/// another one needs them resized (weights/position_embedding.hpp).
/// Parameters `conv` and `position` {1, tokens, Hidden}, initially 0.
template <int Hidden, int Patch = 16, class Drop = Dropout<std::ratio<1, 10>>>
struct PatchEmbedding {
  static_assert(Hidden >= 1 && Patch >= 1, "PatchEmbedding: Hidden and Patch must be at least 1");

  static constexpr Value lower(Builder& b, Value x) {
    const auto s = b.scope("patches");
    for (const Axis axis : {Axis::height, Axis::width})
      if (const int extent = along(b.shape(x).extent(), axis); extent % Patch != 0)
        b.fail(RuleKind::extent_must_divide, extent, Patch,
               Sentence{} << op::axis_name(axis) << " " << extent << " is not divisible into patches of " << Patch,
               true);
    x = layer::conv(b, x, {.channels = Hidden, .kernel = Patch, .stride = Patch, .padding = Padding::valid});
    x = op::add_embedding(b, x, b.embedding("position", b.shape(x).extent(), Hidden));
    return Drop::lower(b, x);
  }
};

/// Every token becomes a mixture of all tokens' values, once for each head (Vaswani et al. 2017). Keeps the shape;
/// Heads divides the channels. Parameters `query`, `key`, `value`, `out`, each with bias.
template <int Heads>
struct MultiHeadAttention {
  static constexpr Value lower(Builder& b, Value x) {
    const auto s = b.scope("attention");
    const int channels = b.shape(x).channels;
    const Value query = layer::linear(b, x, channels, "query");
    const Value key = layer::linear(b, x, channels, "key");
    const Value value = layer::linear(b, x, channels, "value");
    return layer::linear(b, op::attention(b, query, key, value, Heads), channels, "out");
  }
};

/// y = x + attention(norm(x)), then y + mlp(norm(y)), the norms in front (epsilon 1e-6). The MLP has one hidden layer
/// of Mlp channels with GELU; dropout follows each of its matrices.
template <int Heads, int Mlp, class Drop = Dropout<std::ratio<1, 10>>>
struct TransformerLayer {
  static constexpr Value lower(Builder& b, Value x) {
    x = op::add(b, x, MultiHeadAttention<Heads>::lower(b, norm::Layer<>::lower(b, x, "norm1")));
    return op::add(b, x, mlp(b, norm::Layer<>::lower(b, x, "norm2")));
  }

 private:
  static constexpr Value mlp(Builder& b, Value x) {
    const auto s = b.scope("mlp");
    const int channels = b.shape(x).channels;
    x = Drop::lower(b, activation::GELU::lower(b, layer::linear(b, x, Mlp, "fc1")));
    return Drop::lower(b, layer::linear(b, x, channels, "fc2"));
  }
};

/// `Count` layers, then a layer norm: the transformer of ViT without its classification token.
template <int Count, int Heads, int Mlp, class Drop = Dropout<std::ratio<1, 10>>>
struct TransformerEncoder {
  static_assert(Count >= 0 && Mlp >= 1, "TransformerEncoder: Mlp must be at least 1, Count at least 0");

  static constexpr Value lower(Builder& b, Value x) {
    const auto s = b.scope("transformer");
    for (int i = 0; i < Count; ++i) {
      const auto of_layer = b.scope("layer", i);
      x = TransformerLayer<Heads, Mlp, Drop>::lower(b, x);
    }
    return norm::Layer<>::lower(b, x);
  }
};

}  // namespace ulna
