// SPDX-License-Identifier: MIT
// Recomputation: activations that the backward pass needs are dropped after the forward pass and computed again when
// it comes to them (Chen et al. 2016, "Training deep nets with sublinear memory cost"). It trades time for memory; the
// numbers stay the same to the bit, since the same kernels compute them from the same values.
//
// The network is cut into units, whose values are computed again together when the backward pass comes to the unit.
// Statistics and losses are kept, and nodes without output, such as updates of running statistics, run once. The last
// unit keeps everything: its backward pass comes at once.
#pragma once

#include "ulna/graph/graph.hpp"

namespace ulna {

struct recompute_question {};

/// All activations are kept.
struct Nothing {};

/// Units are the outermost parts of a network: encoder[2], bottleneck, decoder[0]. A level of U-Net++ is a unit each
/// time that the network comes to it. What a unit gives to others is kept, what only it reads is dropped.
struct EveryLevel {
  static constexpr bool keeps_results = true;
  static constexpr bool drops(Op) { return true; }
  static constexpr int unit_of(const auto& graph, int scope) {
    while (graph.scopes[scope].parent > 0) scope = graph.scopes[scope].parent;
    return scope;
  }
};

/// The same where units are the innermost numbered parts: transformer/layer[7], trunk/stage[1]/unit[2]; elsewhere the
/// outermost. For networks whose outermost parts are deep themselves.
struct EveryBlock : EveryLevel {
  static constexpr int unit_of(const auto& graph, int scope) {
    while (graph.scopes[scope].parent > 0 && graph.scopes[scope].index < 0) scope = graph.scopes[scope].parent;
    return scope;
  }
};

/// Whatever one pass over memory gives, from values that are kept in any case, is dropped: norms, activations, sums.
/// Convolutions and other products are kept, so that it costs next to no arithmetic. Units are the outermost parts, and
/// each computes again what it reads of the others.
struct EveryPass : EveryLevel {
  static constexpr bool keeps_results = false;
  static constexpr bool drops(Op op) {
    switch (op) {
      case Op::normalize:
      case Op::layer_norm:
      case Op::activation:
      case Op::dropout:
      case Op::add:
      case Op::add_embedding:
      case Op::multiply:
      case Op::scale:
      case Op::upsample_nearest:
      case Op::upsample_bilinear:
      case Op::concat:
      case Op::crop:
      case Op::pad:
        return true;
      default:
        return false;
    }
  }
};

/// How a training program trades time for memory: `Recompute<EveryLevel>`.
template <class Units = Nothing>
struct Recompute {
  using option = recompute_question;
  using units = Units;
};

namespace detail {

template <class Units>
class Recomputer {
 public:
  /// A differentiated graph whose first `forward` nodes are the forward pass.
  constexpr Recomputer(const Graph<>& from, int forward) : from_(from), forward_(forward), to_(from) {
    to_.nodes.count = forward;
    for (int i = 0; i < from.nodes.size(); ++i) new_id_.push_back(i < forward ? i : -1);
    find_dropped();
  }

  constexpr Graph<> run() {
    int unit = 0;
    for (int i = forward_; i < from_.nodes.size(); ++i) {
      if (unit_of(i) > 0 && unit_of(i) != unit) forget_repeated();
      if (unit_of(i) > 0) unit = unit_of(i);
      new_id_[i] = append(i);
    }
    if (from_.image_gradient >= 0) to_.image_gradient = new_id_[from_.image_gradient];
    if (from_.output_gradient >= 0) to_.output_gradient = new_id_[from_.output_gradient];
    return to_;
  }

 private:
  constexpr int unit_of(int id) const { return Units::unit_of(from_, from_.nodes[id].scope); }

  constexpr void find_dropped() {
    for (int i = 0; i < forward_; ++i) kept_anyway_.push_back(!has_kernel(from_.nodes[i].op));
    for (int i = forward_; i < from_.nodes.size(); ++i)
      for (const int x : from_.nodes[i].input)
        if (x >= 0 && x < forward_) kept_anyway_[x] = true;
    for (int i = 0; i < forward_; ++i) {
      const Node& n = from_.nodes[i];
      dropped_.push_back(has_kernel(n.op) && is_activation(n) && !n.once && unit_of(i) > 0 && Units::drops(n.op) &&
                         (Units::keeps_results || costs_no_memory(n)));
      for (const int x : n.input)
        if (Units::keeps_results && x >= 0 && unit_of(x) != unit_of(i)) dropped_[x] = false;
    }
    dropped_[from_.output] = false;
    for (const Published& p : from_.published) dropped_[p.node] = false;
    keep_last_unit();
  }

  /// Whether what a node reads is there again in the backward pass without being kept for it. The parts of a
  /// concatenation take no more memory than the concatenation.
  constexpr bool costs_no_memory(const Node& n) const {
    bool there = true;
    for (const int x : n.input)
      there = there && (x < 0 || dropped_[x] || kept_anyway_[x] || !is_activation(from_.nodes[x]));
    return there || n.op == Op::concat;
  }

  /// The last unit with something to drop that the backward pass reads.
  constexpr void keep_last_unit() {
    int last = -1;
    for (int i = forward_; i < from_.nodes.size(); ++i)
      for (const int x : from_.nodes[i].input)
        if (x > last && x < forward_ && dropped_[x]) last = x;
    for (int i = 0; i < forward_; ++i)
      if (last >= 0 && unit_of(i) == unit_of(last)) dropped_[i] = false;
  }

  /// Where the backward pass finds the value of node `id`: computed again, if need be, together with what it needs.
  constexpr int value(int id) {
    if (id >= forward_ || !dropped_[id]) return new_id_[id];
    if (new_id_[id] == id) {
      const int again = append(id);
      to_.nodes[id].repeat = Repeat::dropped;
      to_.nodes[again].repeat = Repeat::again;
      repeated_.push_back(id);
      new_id_[id] = again;
    }
    return new_id_[id];
  }

  /// Another unit computes its own.
  constexpr void forget_repeated() {
    for (const int id : repeated_) new_id_[id] = id;
    repeated_.count = 0;
  }

  constexpr int append(int id) {
    Node node = from_.nodes[id];
    for (int& x : node.input)
      if (x >= 0) x = value(x);
    to_.nodes.push_back(node);
    return to_.nodes.size() - 1;
  }

  const Graph<>& from_;
  int forward_;
  Graph<> to_;
  FixedVector<bool, node_capacity> kept_anyway_{};  ///< leaves, and what the backward pass reads itself
  FixedVector<bool, node_capacity> dropped_{};
  FixedVector<int, node_capacity> repeated_{};  ///< values that the current unit has computed again
  FixedVector<int, node_capacity> new_id_{};    ///< for readers in the backward pass
};

}  // namespace detail

/// A differentiated graph, whose first `forward` nodes are the forward pass, with activations computed again.
template <class Units>
constexpr Graph<> recompute(const Graph<>& graph, int forward) {
  return detail::Recomputer<Units>{graph, forward}.run();
}

}  // namespace ulna
