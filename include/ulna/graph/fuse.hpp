// SPDX-License-Identifier: MIT
// Fusing: what can be computed while a value is written is not a pass of its own.
//
//   convolution -> affine      becomes a convolution with folded weights and bias (batch norm at inference)
//   producer -> activation     becomes a producer that applies the activation as it writes (gelu at inference only: its
//                              gradient needs its input)
//   convolution -> add         becomes a convolution that adds the other operand as it writes, at inference: training
//                              reads the gradient of its activation off its own output
//   convolution -> max_pool    2x2, stride 2: the convolution fills both maps, at inference; both nodes stay
// each but the last when the value in between has no other reader.
#pragma once

#include "ulna/graph/graph.hpp"

namespace ulna {

/// Ops that apply Node::activation as they write.
constexpr bool takes_activation(Op op) {
  return op == Op::convolution || op == Op::transposed_convolution || op == Op::normalize || op == Op::affine ||
         op == Op::add;
}

/// Ops whose output channels may be scaled and shifted by changing their weight and bias.
constexpr bool takes_affine(Op op) { return op == Op::convolution || op == Op::transposed_convolution; }

namespace detail {

class Fuser {
 public:
  constexpr explicit Fuser(const Graph<>& from) : from_(from) {
    for (int i = 0; i < from.nodes.size(); ++i) {
      readers_.push_back(0);
      reader_.push_back(-1);
      new_id_.push_back(-1);
    }
    for (int i = 0; i < from.nodes.size(); ++i)
      for (const int x : from.nodes[i].input)
        if (x >= 0) {
          ++readers_[x];
          reader_[x] = i;
        }
    if (from.output >= 0) ++readers_[from.output];  // the caller reads it too
    for (const Published& p : from.published) ++readers_[p.node];
  }

  constexpr Graph<> run() {
    to_.parameters = from_.parameters;
    to_.scopes = from_.scopes;
    to_.parameter_count = from_.parameter_count;
    to_.state_count = from_.state_count;
    for (int i = 0; i < from_.nodes.size(); ++i) new_id_[i] = place(i);
    to_.image = renumber(from_.image);
    to_.labels = renumber(from_.labels);
    to_.pixel_weights = renumber(from_.pixel_weights);
    to_.output = renumber(from_.output);
    to_.loss = renumber(from_.loss);
    for (const Published& p : from_.published) to_.published.push_back({p.scope, renumber(p.node)});
    return to_;
  }

 private:
  constexpr int renumber(int id) const { return id < 0 ? -1 : new_id_[id]; }

  constexpr bool folds_into_affine(int id) const {
    return takes_affine(from_.nodes[id].op) && from_.nodes[id].activation == Activation::none && readers_[id] == 1 &&
           reader_[id] >= 0 && from_.nodes[reader_[id]].op == Op::affine;
  }

  constexpr int append(Node node) {
    to_.nodes.push_back(node);
    return to_.nodes.size() - 1;
  }

  constexpr int place(int id) {
    Node node = from_.nodes[id];
    const int source = node.input[0];
    if (folds_into_affine(id)) return -1;  // placed together with its affine
    if (node.op == Op::affine && source >= 0 && folds_into_affine(source)) return place_folded(node, source);
    const bool infers = from_.loss < 0;
    if (node.op == Op::activation && (infers || node.activation != Activation::gelu) && readers_[source] == 1) {
      const int producer = renumber(source);
      Node& p = to_.nodes[producer];
      if (takes_activation(p.op) && p.activation == Activation::none) {
        p.activation = node.activation;
        p.slope = node.slope;
        return producer;
      }
    }
    for (int& x : node.input) x = renumber(x);
    if (const int sum = place_residual(node, from_.nodes[id].input); sum >= 0) return sum;
    if (node.op == Op::max_pool && node.window == window2d(2, 2) && infers) {
      Node& p = to_.nodes[node.input[0]];
      if (p.op == Op::convolution && !p.pooled) p.pooled = node.pooled = true;
    }
    return node.op == Op::running_affine ? appended_once(node) : append(node);
  }

  /// The convolution that becomes sum `node`, whose operands had the numbers `from`; -1: none does. The other operand
  /// has to be there before it.
  constexpr int place_residual(const Node& node, const std::array<int, max_inputs>& from) {
    if (node.op != Op::add || from_.loss >= 0) return -1;
    const int other = node.input[0] < node.input[1] ? 0 : 1;
    const int producer = node.input[static_cast<std::size_t>(1 - other)];
    Node& p = to_.nodes[producer];
    if (p.op != Op::convolution || p.residual != ResidualSum::none ||
        readers_[from[static_cast<std::size_t>(1 - other)]] != 1)
      return -1;
    if (node.activation != Activation::none && p.activation != Activation::none) return -1;
    p.residual = p.activation == Activation::none ? ResidualSum::before_activation : ResidualSum::after_activation;
    if (node.activation != Activation::none) {
      p.activation = node.activation;
      p.slope = node.slope;
    }
    p.input[residual_input] = node.input[static_cast<std::size_t>(other)];
    return producer;
  }

  constexpr int place_folded(const Node& affine, int source) {
    Node node = from_.nodes[source];
    const int weight = renumber(node.input[1]);
    const int bias = renumber(node.input[2]);
    const int scale_shift = renumber(affine.input[1]);
    Node folded_weight{.op = Op::fold_weight,
                       .shape = to_.nodes[weight].shape,
                       .input = {weight, scale_shift, -1, -1, -1, -1},
                       .scope = node.scope};
    Node folded_bias{.op = Op::fold_bias,
                     .shape = {node.shape.channels},
                     .input = {scale_shift, bias, -1, -1, -1, -1},
                     .scope = node.scope};
    folded_weight.per_sample = folded_bias.per_sample = false;
    folded_weight.once = folded_bias.once = true;
    node.input = {renumber(node.input[0]), appended_once(folded_weight), appended_once(folded_bias), -1, -1, -1};
    return append(node);
  }

  /// A weight that is applied several times with the same norm (recurrent convolutions) is folded once.
  constexpr int appended_once(const Node& node) {
    for (int i = 0; i < to_.nodes.size(); ++i) {
      const Node& other = to_.nodes[i];
      if (other.op == node.op && other.input == node.input && other.norm == node.norm) return i;
    }
    return append(node);
  }

  const Graph<>& from_;
  Graph<> to_{};
  FixedVector<int, node_capacity> readers_{};
  FixedVector<int, node_capacity> reader_{};  ///< the last reader; meaningful when there is exactly one
  FixedVector<int, node_capacity> new_id_{};
};

}  // namespace detail

/// The fused graph; run it before differentiation.
constexpr Graph<> fuse(const Graph<>& graph) { return detail::Fuser{graph}.run(); }

}  // namespace ulna
