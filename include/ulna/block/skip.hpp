// SPDX-License-Identifier: MIT
// How a decoder joins what comes up with the skip from the encoder.
#pragma once

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

/// Channels side by side, the skip first as in today's code, cropped to what came up.
struct Concat {
  using option = question;
  static constexpr Value join(Builder& b, Value up, Value from_encoder) {
    return op::concat(b, op::crop(b, from_encoder, b.shape(up).extent()), up);
  }
};
/// Channels side by side, what came up first.
struct ConcatUpFirst {
  using option = question;
  static constexpr Value join(Builder& b, Value up, Value from_encoder) {
    return op::concat(b, up, op::crop(b, from_encoder, b.shape(up).extent()));
  }
};
/// Their sum.
struct Sum {
  using option = question;
  static constexpr Value join(Builder& b, Value up, Value from_encoder) {
    return op::add(b, up, op::crop(b, from_encoder, b.shape(up).extent()));
  }
};
/// What came up alone: an encoder and a decoder without skips.
struct None {
  using option = question;
  static constexpr Value join(Builder&, Value up, Value) { return up; }
};
}  // namespace skip

}  // namespace ulna
