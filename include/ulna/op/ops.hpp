// SPDX-License-Identifier: MIT
// Every op, and how a pass reaches the rule of a node's op.
#pragma once

#include "ulna/op/activation.hpp"
#include "ulna/op/attention.hpp"
#include "ulna/op/convolution.hpp"
#include "ulna/op/embedding.hpp"
#include "ulna/op/layer_norm.hpp"
#include "ulna/op/loss.hpp"
#include "ulna/op/normalize.hpp"
#include "ulna/op/pointwise.hpp"
#include "ulna/op/pool.hpp"
#include "ulna/op/rearrange.hpp"
#include "ulna/op/standardize.hpp"
#include "ulna/op/transposed_convolution.hpp"
#include "ulna/op/upsample.hpp"

namespace ulna {

template <>
struct OpRule<Op::input> : OpDefaults {
  static constexpr const char* name = "input";
};
template <>
struct OpRule<Op::parameter> : OpDefaults {
  static constexpr const char* name = "parameter";
};

/// Calls `visit(OpRule<op>{})` for a run-time op.
template <int I = 0>
constexpr auto with_rule(Op op, auto&& visit) {
  if constexpr (I + 1 == static_cast<int>(Op::count)) {
    return visit(OpRule<static_cast<Op>(I)>{});
  } else {
    return op == static_cast<Op>(I) ? visit(OpRule<static_cast<Op>(I)>{}) : with_rule<I + 1>(op, visit);
  }
}

constexpr const char* name_of(Op op) {
  return with_rule(op, [](auto rule) { return decltype(rule)::name; });
}

/// Names the shape rule of every op; exists so that a new op without a rule does not compile.
static_assert(name_of(Op::weighted_sum) != nullptr);

}  // namespace ulna
