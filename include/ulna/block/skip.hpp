// SPDX-License-Identifier: MIT
// How a decoder joins what comes up with the skips that reach it: one from the encoder in a U-Net, a row of them in a
// U-Net++.
#pragma once

#include <span>

#include "ulna/layer/layer.hpp"
#include "ulna/layer/options.hpp"

namespace ulna {

namespace skip {
struct question {};

/// Zeros around x until it has the extent `to`; the odd pixel at the end.
constexpr Value padded(Builder& b, Value x, Extent to) {
  const Extent from = b.shape(x).extent();
  const Extent more{to.depth - from.depth, to.height - from.height, to.width - from.width};
  const Extent before{more.depth / 2, more.height / 2, more.width / 2};
  return op::pad(b, x, before, {more.depth - before.depth, more.height - before.height, more.width - before.width},
                 Border::zero);
}

/// The skips that reach a decoder: one value, or a row of them. A view, for the length of a call.
class Skips {
 public:
  constexpr Skips(const Value& one) : values_(&one, 1) {}
  constexpr Skips(std::span<const Value> row) : values_(row) {}
  constexpr auto begin() const { return values_.begin(); }
  constexpr auto end() const { return values_.end(); }

 private:
  std::span<const Value> values_;
};

namespace detail {
using Parts = FixedVector<Value, 9>;
constexpr void push_cropped(Builder& b, Parts& parts, Skips skips, Extent to) {
  for (const Value skip : skips) parts.push_back(op::crop(b, skip, to));
}
constexpr Value concat(Builder& b, const Parts& parts) { return op::concat(b, {parts.begin(), parts.end()}); }
}  // namespace detail

/// Channels side by side, the skips first as in today's code, cropped to what came up.
struct Concat {
  using option = question;
  static constexpr Value join(Builder& b, Value up, Skips skips) {
    detail::Parts parts;
    detail::push_cropped(b, parts, skips, b.shape(up).extent());
    parts.push_back(up);
    return detail::concat(b, parts);
  }
};
/// Channels side by side, what came up first.
struct ConcatUpFirst {
  using option = question;
  static constexpr Value join(Builder& b, Value up, Skips skips) {
    detail::Parts parts;
    parts.push_back(up);
    detail::push_cropped(b, parts, skips, b.shape(up).extent());
    return detail::concat(b, parts);
  }
};
/// Their sum.
struct Sum {
  using option = question;
  static constexpr Value join(Builder& b, Value up, Skips skips) {
    Value sum = up;
    for (const Value skip : skips) sum = op::add(b, sum, op::crop(b, skip, b.shape(up).extent()));
    return sum;
  }
};
/// What came up alone: an encoder and a decoder without skips.
struct None {
  using option = question;
  static constexpr Value join(Builder&, Value up, Skips) { return up; }
};
}  // namespace skip

}  // namespace ulna
