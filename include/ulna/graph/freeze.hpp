// SPDX-License-Identifier: MIT
// Freezing: of a graph for inference, what depends on parameters alone (folded weights, say) becomes the parameters.
// What is left reads nothing else, so nothing has to be evaluated before the first run.
//
// Weights of 1x1 and 3x3 convolutions may be packed besides: put in the order in which one backend's kernels read them.
#pragma once

#include <cstddef>
#include <string_view>

#include "ulna/graph/graph.hpp"
#include "ulna/graph/plan.hpp"
#include "ulna/graph/structure.hpp"
#include "ulna/op/ops.hpp"

namespace ulna {

/// A graph whose parameters are values of the graph that it was frozen from.
struct FrozenGraph {
  Graph<> graph{};
  FixedVector<int, parameter_capacity> source{};  ///< of each parameter: the node there whose value it is
};

namespace detail {

template <class From>
class Freezer {
 public:
  constexpr Freezer(const From& from, WeightOrder order) : from_(from), order_(order) {
    for (int i = 0; i < from.nodes.size(); ++i) {
      read_.push_back(false);
      parameter_.push_back(-1);
      new_id_.push_back(-1);
    }
    for (const Node& n : from.nodes)
      if (!is_constant(n))
        for (const int x : n.input)
          if (x >= 0) read_[x] = true;
    for (const Published& p : from.published) read_[p.node] = true;
    choose_orders();
  }

  constexpr FrozenGraph run() {
    for (const Scope& s : from_.scopes) to_.scopes.push_back(s);
    // Whole cache lines first: every large parameter then begins one.
    add_parameters([](std::int64_t size) { return size == aligned(size); });
    add_parameters([](std::int64_t size) { return size != aligned(size); });
    for (int i = 0; i < from_.nodes.size(); ++i) place(i);
    to_.image = new_id_[from_.image];
    to_.output = new_id_[from_.output];
    for (const Published& p : from_.published) to_.published.push_back({p.scope, new_id_[p.node]});
    to_.structure = structure_of(to_);
    return {to_, source_};
  }

 private:
  static constexpr bool is_constant(const Node& n) { return n.op == Op::parameter || n.once; }

  /// Packed are the weights of whole blocks that all that read them take packed.
  constexpr void choose_orders() {
    FixedVector<bool, node_capacity> seen;
    for (int i = 0; i < from_.nodes.size(); ++i) {
      seen.push_back(false);
      order_of_.push_back(WeightOrder::rows);
    }
    if (order_ == WeightOrder::rows) return;
    for (const Node& n : from_.nodes)
      for (int k = 0; k < n.inputs() && !is_constant(n); ++k) {
        const int x = n.input[static_cast<std::size_t>(k)];
        if (x < 0 || !can_be_packed(x)) continue;
        const WeightOrder wanted = k == 1 ? order_for(n) : WeightOrder::rows;
        order_of_[x] = !seen[x] || order_of_[x] == wanted ? wanted : WeightOrder::rows;
        seen[x] = true;
      }
    for (const Published& p : from_.published) order_of_[p.node] = WeightOrder::rows;
  }
  constexpr bool can_be_packed(int id) const {
    const Node& weight = from_.nodes[id];
    return is_constant(weight) && ulna::can_be_packed(weight.shape.width, weight.shape.channels) &&
           (weight.op != Op::parameter || from_.parameters[weight.parameter].order == WeightOrder::rows);
  }
  /// The order that the kernels of a node's op take.
  constexpr WeightOrder order_for(const Node& n) const {
    const Window& w = n.window;
    if (n.op != Op::convolution || n.swap_channels || w.stride != Extent{1, 1, 1}) return WeightOrder::rows;
    if (w.taps() == 1) return n.shape.extent() == from_.input(n, 0).shape.extent() ? order_ : WeightOrder::rows;
    return w.kernel == Extent{1, 3, 3} ? WeightOrder::blocks : WeightOrder::rows;
  }

  constexpr void add_parameters(auto&& take) {
    for (int i = 0; i < from_.nodes.size(); ++i) {
      if (!read_[i] || !is_constant(from_.nodes[i]) || !take(from_.nodes[i].shape.size())) continue;
      Parameter p = described(i);
      if (const WeightOrder order = order_of_[i]; order != WeightOrder::rows) {
        p.order = order;
        if (order == WeightOrder::pair_blocks) p.in /= 2;
      }
      home_.push_back(p.scope);
      if (const int others = namesakes(p); others > 0) {
        to_.scopes.push_back({p.scope, "set", others});
        p.scope = to_.scopes.size() - 1;
      }
      p.offset = to_.parameter_count;
      to_.parameter_count += p.size();
      parameter_[i] = to_.parameters.size();
      to_.parameters.push_back(p);
      source_.push_back(i);
    }
  }

  /// Node `id` as a parameter. A weight that was changed is a weight still; anything else is a vector.
  constexpr Parameter described(int id) const {
    const Node& n = from_.nodes[id];
    int origin = id;
    while (from_.nodes[origin].op == Op::fold_weight || from_.nodes[origin].op == Op::standardize_weight)
      origin = from_.nodes[origin].input[0];
    if (from_.nodes[origin].op == Op::parameter) {
      Parameter p = from_.parameters[from_.nodes[origin].parameter];
      if (!is_trainable(p.kind)) p.kind = ParameterKind::bias;
      return p;
    }
    const char* name = n.op == Op::fold_bias ? "bias" : with_rule(n.op, [](auto rule) { return decltype(rule)::name; });
    return {.scope = n.scope, .name = name, .kind = ParameterKind::bias, .out = static_cast<int>(n.shape.size())};
  }

  /// How many parameters before the last had its scope and name: a weight that is folded with several norms has several
  /// values.
  constexpr int namesakes(const Parameter& p) const {
    int count = 0;
    for (int k = 0; k + 1 < home_.size(); ++k)
      count += home_[k] == p.scope && std::string_view(to_.parameters[k].name) == p.name;
    return count;
  }

  constexpr void place(int id) {
    Node node = from_.nodes[id];
    if (is_constant(node)) {
      if (parameter_[id] < 0) return;  // read by nothing that runs
      node = {.op = Op::parameter, .shape = node.shape, .scope = node.scope, .parameter = parameter_[id]};
      node.per_sample = false;
      if (order_of_[id] == WeightOrder::pair_blocks) node.shape.width /= 2;
    } else if (node.op == Op::convolution && order_of_[node.input[1]] != WeightOrder::rows) {
      node.weight_order = order_of_[node.input[1]];
    }
    for (int& x : node.input) x = x < 0 ? -1 : new_id_[x];
    new_id_[id] = to_.nodes.size();
    to_.nodes.push_back(node);
  }

  const From& from_;
  WeightOrder order_;
  Graph<> to_{};
  FixedVector<int, parameter_capacity> source_{};
  FixedVector<int, parameter_capacity> home_{};         ///< scopes of parameters before namesakes were told apart
  FixedVector<WeightOrder, node_capacity> order_of_{};  ///< in which each value is put
  FixedVector<bool, node_capacity> read_{};             ///< by a node that runs, or by the caller
  FixedVector<int, node_capacity> parameter_{};
  FixedVector<int, node_capacity> new_id_{};
};

}  // namespace detail

/// Freezes a graph for inference. `order`: rows, or how the weights of 1x1 convolutions whose channels are whole blocks
/// are packed; those of 3x3 convolutions then become `blocks`.
constexpr FrozenGraph freeze(const auto& graph, WeightOrder order = WeightOrder::rows) {
  return detail::Freezer{graph, order}.run();
}

}  // namespace ulna
