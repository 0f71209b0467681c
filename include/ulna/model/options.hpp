// SPDX-License-Identifier: MIT
// The options that several networks share. What blocks, norms and resampling may be is said where those are.
#pragma once

#include "ulna/layer/activation.hpp"
#include "ulna/layer/norm.hpp"
#include "ulna/layer/options.hpp"

namespace ulna {

struct classes_question {};
struct width_question {};
struct depth_question {};
struct bias_question {};
struct blocks_question {};
struct hidden_question {};

/// Logits a pixel: 2 for foreground and background with cross-entropy, 1 for binary cross-entropy.
template <int Count>
struct Classes {
  using option = classes_question;
  static constexpr int value = Count;
};

/// Channels of the first level; each level down doubles them.
template <int Channels>
struct Width {
  using option = width_question;
  static constexpr int levels = 0;  ///< any number
  static constexpr bool positive = Channels >= 1;
  static constexpr int at(int level) { return Channels << level; }
};

/// Channels of every level, the bottleneck's last: `Widths<35, 70, 140, 280, 560>` is the wide U-Net. Fixes the depth.
template <int... Channels>
struct Widths {
  using option = width_question;
  static constexpr int levels = static_cast<int>(sizeof...(Channels));
  static constexpr bool positive = ((Channels >= 1) && ...);
  static constexpr int at(int level) {
    constexpr int channels[] = {Channels...};
    return channels[level];
  }
};

/// How often the extent is halved.
template <int Count>
struct Depth {
  using option = depth_question;
  static constexpr int value = Count;
};

/// Channels of a hidden representation: a transformer's tokens, an FCN's fully connected layers.
template <int Channels>
struct Hidden {
  using option = hidden_question;
  static constexpr int value = Channels;
};

/// Whether convolutions in front of a norm keep their bias.
template <bool Present>
struct ConvBias {
  using option = bias_question;
  static constexpr bool value = Present;
};

/// The block of every level, given the network's Style: `Blocks<ConvBlock>`.
template <template <class> class BlockOf>
struct Blocks {
  using option = blocks_question;
  template <class S>
  using block = BlockOf<S>;
};

/// The depth that Width or Widths and Depth say together.
template <class Width, class Depth, class... Options>
constexpr int depth_of() {
  if constexpr (Width::levels == 0) {
    return Depth::value;
  } else {
    static_assert(answers<depth_question, Options...> == 0 || Depth::value == Width::levels - 1,
                  "Ulna: Widths and Depth disagree; Widths lists Depth + 1 numbers, the bottleneck's last");
    return Width::levels - 1;
  }
}

/// What to do where an extent is odd and cannot be halved.
namespace odd {
struct question {};
/// The network does not compile; the error says which extents would.
struct Refuse {
  using option = question;
  static constexpr bool pads = false;
};
/// Halving drops the last row or column, and what comes up is padded with zeros to the skip's extent, the odd pixel at
/// the end (milesial/Pytorch-UNet).
struct Pad {
  using option = question;
  static constexpr bool pads = true;
};
}  // namespace odd

/// The norm and the activation that a network's options name.
template <class... Options>
using norm_of = pick<norm::question, norm::Batch, Options...>;
template <class... Options>
using activation_of = pick<activation::question, activation::ReLU, Options...>;

}  // namespace ulna
