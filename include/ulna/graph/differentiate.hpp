// SPDX-License-Identifier: MIT
// Reverse-mode differentiation: the backward graph is more nodes of the same kind, appended to the forward ones.
#pragma once

#include "ulna/graph/builder.hpp"

namespace ulna {

/// What a gradient rule may do: ask whether a gradient is wanted, and contribute one.
class Backward {
 public:
  /// `image_gradient`: also derive the gradient of the loss by the input image.
  constexpr Backward(Builder& builder, bool image_gradient) : b(builder), forward_(builder.graph.nodes.size()) {
    for (int i = 0; i < forward_; ++i) {
      const Node& n = b.graph.nodes[i];
      bool wanted = (n.op == Op::parameter && is_trainable(b.graph.parameters[n.parameter].kind)) ||
                    (image_gradient && i == b.graph.image);
      for (const int x : n.input) wanted = wanted || (x >= 0 && wanted_[x]);
      wanted_.push_back(wanted);
      gradient_.push_back(-1);
      weight_.push_back(0.0f);
      only_reader_.push_back(-1);
      for (const int x : n.input)
        if (x >= 0) only_reader_[x] = only_reader_[x] == -1 ? i : several;
    }
    for (int p = 0; p < b.graph.parameters.size(); ++p) met_.push_back(false);
  }

  Builder& b;

  constexpr bool wanted(int id) const { return id >= 0 && wanted_[id]; }
  constexpr Value gradient(int id) const { return {gradient_[id]}; }

  /// The node of the forward pass that alone reads value `id`, or -1 when there are none or several.
  constexpr int only_reader(int id) const { return only_reader_[id] == several ? -1 : only_reader_[id]; }

  /// d loss / d (value `id`) gains a term.
  constexpr void contribute(int id, Value term) {
    int& g = gradient_[id];
    if (g < 0) {
      g = term.id;
    } else {
      Node sum{.op = Op::add, .shape = b.graph.nodes[id].shape, .input = {g, term.id, -1, -1, -1, -1}};
      sum.per_sample = b.graph.nodes[id].per_sample;
      g = append(sum).id;
    }
  }

  /// d loss / d (parameter leaf `id`) gains what `node` computes, written straight into the gradient buffer.
  constexpr void contribute_parameter(int id, Node node) {
    const int p = b.graph.nodes[id].parameter;
    node.gradient_of = p;
    node.per_sample = false;
    node.accumulate = met_[p];
    met_[p] = true;
    append(node);
  }

  /// The same for a weight that is a parameter, or computed from one (a standardised weight).
  constexpr void contribute_weight(int id, Node node) {
    if (b.graph.nodes[id].op == Op::parameter) {
      contribute_parameter(id, node);
    } else {
      node.per_sample = false;
      contribute(id, append(node));
    }
  }

  /// Weight of a loss record in the total.
  constexpr float& loss_weight(int id) { return weight_[id]; }

  /// Appends a node in the scope of the forward node being differentiated.
  constexpr Value append(Node node) {
    b.graph.nodes.push_back(node);
    b.graph.nodes[b.graph.nodes.size() - 1].scope = scope_;
    return {b.graph.nodes.size() - 1};
  }
  constexpr void set_scope(int scope) { scope_ = scope; }
  constexpr int forward_size() const { return forward_; }

 private:
  static constexpr int several = -2;

  int forward_;
  int scope_ = 0;
  FixedVector<bool, node_capacity> wanted_{};
  FixedVector<int, node_capacity> gradient_{};
  FixedVector<int, node_capacity> only_reader_{};
  FixedVector<float, node_capacity> weight_{};
  FixedVector<bool, parameter_capacity> met_{};
};

}  // namespace ulna
