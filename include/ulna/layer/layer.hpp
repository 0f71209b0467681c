// SPDX-License-Identifier: MIT
// What a layer is, and how layers combine.
#pragma once

#include <concepts>

#include "ulna/graph/diagnostic.hpp"  // first: a compiler prints the way to a broken rule, and it should be short

#include "ulna/op/ops.hpp"

namespace ulna {

/// A layer lowers itself: it appends its nodes to the builder and returns the value it computes.
template <class L>
concept Layer = requires(Builder& b, Value x) {
  { L::lower(b, x) } -> std::same_as<Value>;
};

/// A block is a layer whose width is chosen by the network around it.
template <class B>
concept Block = requires(Builder& b, Value x, int channels) {
  { B::lower(b, x, channels) } -> std::same_as<Value>;
};

namespace rule {
/// Instantiated for every member of a Sequential, so that the one which is no layer is named.
template <class Member, int position>
struct member_must_be_a_layer {
  static_assert(Layer<Member>,
                "Ulna: this member of Sequential is not a layer; give it "
                "'static constexpr ulna::Value lower(ulna::Builder&, ulna::Value)'");
};
}  // namespace rule

/// Layers one after the other, named by position.
template <class... Layers>
struct Sequential {
  static constexpr Value lower(Builder& b, Value x) {
    int position = 0;
    (append<Layers>(b, x, position), ...);
    return x;
  }

 private:
  template <class L>
  static constexpr void append(Builder& b, Value& x, int& position) {
    if constexpr (sizeof(rule::member_must_be_a_layer<L, 0>) > 0 && Layer<L>) {
      const auto s = b.scope("layer", position++);
      x = L::lower(b, x);
    }
  }
};

/// x + f(x). Both must have the same shape.
template <Layer Inner>
struct Residual {
  static constexpr Value lower(Builder& b, Value x) {
    const auto s = b.scope("residual");
    return op::add(b, Inner::lower(b, x), x);
  }
};

/// The channels of every branch's result, side by side.
template <Layer First, Layer... Rest>
struct Concat {
  static constexpr Value lower(Builder& b, Value x) {
    const auto s = b.scope("concat");
    int branch = 0;
    Value joined = one<First>(b, x, branch);
    ((joined = op::concat(b, joined, one<Rest>(b, x, branch))), ...);
    return joined;
  }

 private:
  template <class L>
  static constexpr Value one(Builder& b, Value x, int& branch) {
    const auto s = b.scope("branch", branch++);
    return L::lower(b, x);
  }
};

/// The input itself.
struct Identity {
  static constexpr Value lower(Builder&, Value x) { return x; }
};

/// A block with its width fixed: a layer.
template <int Channels, Block B>
struct WithChannels {
  static constexpr Value lower(Builder& b, Value x) { return B::lower(b, x, Channels); }
};

}  // namespace ulna
