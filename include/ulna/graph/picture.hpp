// SPDX-License-Identifier: MIT
// A graph for people: pictures in Graphviz's DOT language.
#pragma once

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ulna/graph/summary.hpp"

namespace ulna {

namespace detail {

inline constexpr const char* dot_style =
    "  rankdir=TB; node [shape=box, style=filled, fontname=\"sans-serif\", fontsize=10];\n";

inline const char* colour_of(Op op) {
  switch (op) {
    case Op::convolution:
      return "#cfe2f3";
    case Op::transposed_convolution:
    case Op::upsample_nearest:
    case Op::upsample_bilinear:
      return "#d9ead3";
    case Op::concat:
      return "#fff2cc";
    case Op::max_pool:
    case Op::average_pool:
      return "#f4cccc";
    case Op::attention:
      return "#d9d2e9";
    default:
      return "#eeeeee";
  }
}

/// Whether a node is drawn: it runs, and not once for all.
inline bool is_drawn(const Node& n) { return n.op != Op::parameter && !n.once; }

/// What a block of the overview holds.
struct BlockPicture {
  int scope = -1;  ///< the innermost that holds all its nodes
  Shape shape{};   ///< of its last node of full extent
  int nodes = 0;
  std::int64_t parameters = 0;
  const char* colour = "#ffffff";
};

/// The outermost scope below the network that a node lies in; nodes of the network itself stand alone.
inline std::pair<int, int> block_of(const auto& graph, int id) {
  int scope = graph.nodes[id].scope;
  if (graph.scopes[scope].parent < 0) return {-1, id};
  while (graph.scopes[graph.scopes[scope].parent].parent >= 0) scope = graph.scopes[scope].parent;
  return {scope, -1};
}

/// The innermost scope that holds both.
inline int common_scope(const auto& graph, int a, int b) {
  while (a != b) (a > b ? a : b) = graph.scopes[a > b ? a : b].parent;  // a parent is opened before its children
  return a;
}

/// Encoders are blue, decoders green, what lies between them yellow.
inline const char* block_colour(std::string_view label) {
  if (label.starts_with("encoder")) return "#cfe2f3";
  if (label.starts_with("decoder") || label.starts_with("level")) return "#d9ead3";
  if (label.starts_with("bottleneck") || label.starts_with("transformer")) return "#fff2cc";
  return "#eeeeee";
}

/// Trainable numbers by block: a parameter belongs to the block that declares it.
inline void count_parameters(const auto& graph, std::map<std::pair<int, int>, BlockPicture>& blocks) {
  for (int i = 0; i < graph.nodes.size(); ++i) {
    const Node& n = graph.nodes[i];
    if (n.op != Op::parameter || !is_trainable(graph.parameters[n.parameter].kind)) continue;
    if (const auto found = blocks.find(block_of(graph, i)); found != blocks.end())
      found->second.parameters += graph.parameters[n.parameter].size();
  }
}

}  // namespace detail

/// The graph in Graphviz's DOT language; a box for each node.
inline std::string dot(const auto& graph) {
  std::string text = std::string("digraph ulna {\n") + detail::dot_style;
  for (int i = 0; i < graph.nodes.size(); ++i) {
    const Node& n = graph.nodes[i];
    if (!detail::is_drawn(n)) continue;
    text += "  n" + std::to_string(i) + " [fillcolor=\"" + detail::colour_of(n.op) + "\", label=\"" +
            path_of(graph, n.scope) + "\\n" + detail::describe(n) + "\\n" + detail::extents(n.shape) + "\"];\n";
    for (int k = 0; k < n.inputs(); ++k) {
      const int x = n.input[static_cast<std::size_t>(k)];
      if (x < 0 || !detail::is_drawn(graph.nodes[x])) continue;
      text += "  n" + std::to_string(x) + " -> n" + std::to_string(i) + ";\n";
    }
  }
  return text + "}\n";
}

/// An overview in DOT: a box for each outermost level of the module path (`encoder[0]`, `decoder[3]`, ...), with what
/// it puts out and its parameters. Boxes of one extent stand in one row, so that a U-Net looks like a U.
inline std::string overview(const auto& graph) {
  std::map<std::pair<int, int>, detail::BlockPicture> blocks;
  std::set<std::pair<std::string, std::string>> edges;
  std::map<int, std::vector<std::string>, std::greater<>> rows;  // by height
  const auto name = [](std::pair<int, int> block) {
    return block.first >= 0 ? 's' + std::to_string(block.first) : 'n' + std::to_string(block.second);
  };
  for (int i = 0; i < graph.nodes.size(); ++i) {
    const Node& n = graph.nodes[i];
    if (!detail::is_drawn(n)) continue;
    const auto block = detail::block_of(graph, i);
    auto& picture = blocks[block];
    picture.scope = picture.nodes == 0 ? n.scope : detail::common_scope(graph, picture.scope, n.scope);
    picture.colour = block.first >= 0 ? detail::block_colour(graph.scopes[block.first].label) : detail::colour_of(n.op);
    if (n.shape.pixels() >= picture.shape.pixels() || picture.nodes == 0) picture.shape = n.shape;
    ++picture.nodes;
    for (int k = 0; k < n.inputs(); ++k) {
      const int x = n.input[static_cast<std::size_t>(k)];
      if (x < 0 || !detail::is_drawn(graph.nodes[x]) || detail::block_of(graph, x) == block) continue;
      edges.insert({name(detail::block_of(graph, x)), name(block)});
    }
  }
  detail::count_parameters(graph, blocks);
  std::string text = std::string("digraph ulna {\n") + detail::dot_style;
  for (const auto& [block, picture] : blocks) {
    rows[picture.shape.height].push_back(name(block));
    const std::string path = path_of(graph, picture.scope);
    const std::string label =
        block.first >= 0 ? path.substr(path.find('/') + 1) : detail::describe(graph.nodes[block.second]);
    text += "  " + name(block) + " [fillcolor=\"" + picture.colour + "\", label=\"" + label + "\\n" +
            detail::extents(picture.shape);
    if (picture.parameters > 0) text += "\\n" + detail::grouped(picture.parameters) + " parameters";
    text += "\"];\n";
  }
  for (const auto& [height, names] : rows) {
    text += "  {rank=same;";
    for (const auto& n : names) text += ' ' + n + ';';
    text += "}\n";
  }
  for (const auto& [from, to] : edges) text += "  " + from + " -> " + to + ";\n";
  return text + "}\n";
}

}  // namespace ulna
