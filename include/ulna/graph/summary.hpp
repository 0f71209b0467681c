// SPDX-License-Identifier: MIT
// A graph for people: a table.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "ulna/graph/plan.hpp"

namespace ulna {

namespace detail {

/// 12345678 -> "12,345,678".
inline std::string grouped(std::int64_t n) {
  std::string digits = std::to_string(n);
  for (int i = static_cast<int>(digits.size()) - 3; i > 0; i -= 3) digits.insert(static_cast<std::size_t>(i), ",");
  return digits;
}

inline std::string extents(const Shape& s) {
  std::string text = std::to_string(s.channels) + " x ";
  if (s.depth > 1) text += std::to_string(s.depth) + " x ";
  return text + std::to_string(s.height) + " x " + std::to_string(s.width);
}

inline const char* name_of(Activation a) {
  switch (a) {
    case Activation::relu:
      return "relu";
    case Activation::leaky_relu:
      return "leaky_relu";
    case Activation::sigmoid:
      return "sigmoid";
    case Activation::gelu:
      return "gelu";
    case Activation::none:
      break;
  }
  return "";
}

/// "convolution 3x3 + relu"; " (again)" where training computes it a second time.
inline std::string describe(const Node& n) {
  std::string text = n.op == Op::activation ? name_of(n.activation) : ulna::name_of(n.op);
  const bool windowed =
      n.op == Op::convolution || n.op == Op::transposed_convolution || n.op == Op::max_pool || n.op == Op::average_pool;
  if (windowed) text += ' ' + std::to_string(n.window.kernel.height) + 'x' + std::to_string(n.window.kernel.width);
  if (windowed && n.window.stride.height > 1) text += " /" + std::to_string(n.window.stride.height);
  if (n.residual == ResidualSum::before_activation) text += " + residual";
  if (n.op != Op::activation && n.activation != Activation::none) text += std::string(" + ") + name_of(n.activation);
  if (n.residual == ResidualSum::after_activation) text += " + residual";
  if (n.pooled) text += n.op == Op::max_pool ? " (by the convolution)" : " + max_pool";
  return n.repeat == Repeat::again ? text + " (again)" : text;
}

/// Trainable numbers that reach a node, directly or through nodes evaluated once, and that reached none of the nodes
/// asked about before: a weight that is applied several times counts at the first. `met` has an entry a parameter.
inline std::int64_t parameters_of(const auto& graph, const Node& n, std::vector<bool>& met) {
  std::int64_t count = 0;
  for (int k = 0; k < n.inputs(); ++k) {
    if (n.input[static_cast<std::size_t>(k)] < 0) continue;
    const Node& in = graph.input(n, k);
    if (in.op == Op::parameter && is_trainable(graph.parameters[in.parameter].kind)) {
      const auto p = static_cast<std::size_t>(in.parameter);
      if (!met[p]) count += graph.parameters[in.parameter].size();
      met[p] = true;
    } else if (in.once) {
      count += parameters_of(graph, in, met);
    }
  }
  return count;
}

inline std::string table(const std::vector<std::vector<std::string>>& rows, std::size_t left_columns) {
  std::vector<std::size_t> widths(rows.front().size(), 0);
  for (const auto& row : rows)
    for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  std::string text;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    for (std::size_t c = 0; c < rows[r].size(); ++c) {
      const std::string fill(widths[c] - rows[r][c].size(), ' ');
      text += c < left_columns ? rows[r][c] + fill : fill + rows[r][c];
      if (c + 1 < rows[r].size()) text += "  ";
    }
    while (text.back() == ' ') text.pop_back();
    text += '\n';
    if (r == 0) {
      std::size_t total = 0;
      for (const std::size_t w : widths) total += w + 2;
      text += std::string(total - 2, '-') + '\n';
    }
  }
  return text;
}

}  // namespace detail

/// One line a node that runs: path, op, shape (channels x height x width), parameters, MACs, arena offset in bytes of
/// float.
inline std::string summary(const auto& graph, const auto& plan) {
  std::vector<std::vector<std::string>> rows{{"path", "op", "shape", "parameters", "MACs", "arena"}};
  std::int64_t macs = 0;
  std::vector<bool> met(static_cast<std::size_t>(graph.parameters.size()));
  for (int i = 0; i < graph.nodes.size(); ++i) {
    const Node& n = graph.nodes[i];
    if (n.op == Op::parameter || n.once) continue;
    const std::int64_t cost = with_rule(n.op, [&](auto rule) { return decltype(rule)::macs(graph, n); });
    const Place& p = plan.places[i];
    const std::int64_t parameters = detail::parameters_of(graph, n, met);
    macs += cost;
    rows.push_back({path_of(graph, n.scope), detail::describe(n), detail::extents(n.shape),
                    parameters > 0 ? detail::grouped(parameters) : "", cost > 0 ? detail::grouped(cost) : "",
                    p.storage == Storage::arena
                        ? detail::grouped(4 * (p.offset + p.channel_offset)) + (p.is_view ? " v" : "")
                        : "-"});
  }
  return detail::table(rows, 3) + "total: " + detail::grouped(graph.parameter_count) + " parameters, " +
         detail::grouped(macs) + " MACs, arena " + detail::grouped(4 * plan.arena) + " bytes (" +
         detail::grouped(4 * plan.unplanned) + " without sharing), v: a view of another buffer\n";
}

}  // namespace ulna
