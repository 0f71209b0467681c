// SPDX-License-Identifier: MIT
// The pass that drives the gradient rules.
#pragma once

#include "ulna/graph/differentiate.hpp"
#include "ulna/op/ops.hpp"

namespace ulna {

/// Appends the backward graph of `graph.loss` to the builder. Every trainable parameter that the loss depends on gets
/// its gradient written into the gradient buffer; with `image_gradient` graph.image_gradient is d loss / d image.
constexpr void differentiate(Builder& b, bool image_gradient = false) {
  Backward d{b, image_gradient};
  d.loss_weight(b.graph.loss) = 1.0f;
  for (int id = d.forward_size() - 1; id >= 0; --id) {
    const Node n = b.graph.nodes[id];
    const bool reached = d.gradient(id).id >= 0 || d.loss_weight(id) != 0.0f;
    if (!reached || is_leaf(n.op) || !d.wanted(id)) continue;
    d.set_scope(n.scope);
    with_rule(n.op, [&](auto rule) { decltype(rule)::differentiate(d, n, id, d.gradient(id)); });
  }
  if (!image_gradient) return;
  b.graph.image_gradient = d.gradient(b.graph.image).id;
  b.graph.output_gradient = d.gradient(b.graph.output).id;
}

}  // namespace ulna
