// SPDX-License-Identifier: MIT
// Activations and dropout; also options of networks. Fractions are std::ratio types.
#pragma once

#include <ratio>

#include "ulna/layer/layer.hpp"
#include "ulna/layer/options.hpp"

namespace ulna {

namespace activation {
struct question {};

struct None {
  using option = question;
  static constexpr Value lower(Builder&, Value x) { return x; }
};
struct ReLU {
  using option = question;
  static constexpr Value lower(Builder& b, Value x) { return op::activation(b, x, Activation::relu); }
};
template <class Slope = std::ratio<1, 100>>
struct LeakyReLU {
  using option = question;
  static constexpr Value lower(Builder& b, Value x) {
    return op::activation(b, x, Activation::leaky_relu, detail::value_of<Slope>);
  }
};
struct Sigmoid {
  using option = question;
  static constexpr Value lower(Builder& b, Value x) { return op::activation(b, x, Activation::sigmoid); }
};
/// x Phi(x), Phi the cumulative normal distribution: the exact form.
struct GELU {
  using option = question;
  static constexpr Value lower(Builder& b, Value x) { return op::activation(b, x, Activation::gelu); }
};
}  // namespace activation

/// Probabilities over channels.
struct Softmax {
  static constexpr Value lower(Builder& b, Value x) {
    const auto s = b.scope("softmax");
    return op::softmax(b, x);
  }
};

namespace dropout {
struct question {};

struct None {
  using option = question;
  static constexpr Value lower(Builder&, Value x) { return x; }
};
/// Zeroes a value with probability Rate while training and scales the rest by 1 / (1 - Rate).
template <class Rate = std::ratio<1, 2>>
struct Rate_ {
  using option = question;
  static constexpr Value lower(Builder& b, Value x) {
    const auto s = b.scope("dropout");
    return op::dropout(b, x, detail::value_of<Rate>);
  }
};
}  // namespace dropout

/// `Dropout<std::ratio<1, 2>>`.
template <class Rate = std::ratio<1, 2>>
using Dropout = dropout::Rate_<Rate>;

}  // namespace ulna
