// SPDX-License-Identifier: MIT
// A lowered network as one constexpr value: nodes in execution order, parameters, and the layer each came from.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "ulna/graph/fixed_vector.hpp"
#include "ulna/graph/node.hpp"

namespace ulna {

/// One level of a module path: `encoder[3]` inside its parent.
struct Scope {
  int parent = -1;
  const char* label = "";
  int index = -1;  ///< -1: the label stands alone
};

/// How a parameter's file layout follows from its axes.
enum class ParameterKind : std::uint8_t {
  weight,             ///< convolution: file (out, in, [depth,] height, width)
  transposed_weight,  ///< transposed convolution: file (in, out, [depth,] height, width)
  linear_weight,      ///< matrix applied to every pixel: file (out, in)
  embedding,          ///< a vector for each pixel of the map, initially 0: file (1, pixels, channels)
  bias,               ///< one number a channel, initially 0
  scale,              ///< one number a channel, initially 1
  running_mean,       ///< state, not trained; initially 0
  running_variance    ///< state, not trained; initially 1
};

constexpr bool is_trainable(ParameterKind kind) {
  return kind != ParameterKind::running_mean && kind != ParameterKind::running_variance;
}

/// A parameter or a running statistic. In memory weights are [tap][in][out], out fastest.
struct Parameter {
  int scope = 0;
  const char* name = "";
  ParameterKind kind = ParameterKind::weight;
  Extent kernel{};
  int in = 1;
  int out = 0;
  std::int64_t offset = 0;    ///< elements into the flat buffer of trainable parameters, or of state
  double taps = 1.0;          ///< of a weight: how many of its taps one output pixel sees, on average
  bool interpolates = false;  ///< of a transposed weight: starts as linear interpolation instead of at random
  WeightOrder order{};        ///< two channels of pair_blocks count as one

  constexpr std::int64_t size() const { return kernel.volume() * in * out; }
};

/// An intermediate value that callers may read after a run, by its path.
struct Published {
  int scope = 0;
  int node = -1;
};

/// Capacities of a graph while it is built. A network needs its exact sizes afterwards.
inline constexpr int node_capacity = 3072;
inline constexpr int parameter_capacity = 768;
inline constexpr int scope_capacity = 1024;
inline constexpr int published_capacity = 32;

template <int Nodes = node_capacity, int Parameters = parameter_capacity, int Scopes = scope_capacity>
struct Graph {
  FixedVector<Node, Nodes> nodes{};
  FixedVector<Parameter, Parameters> parameters{};
  FixedVector<Scope, Scopes> scopes{};
  FixedVector<Published, published_capacity> published{};
  int image = -1;                    ///< leaf that holds the input images
  int labels = -1;                   ///< leaf that holds class indices, one channel (training)
  int pixel_weights = -1;            ///< leaf that holds the loss weight of each pixel, one channel (training)
  int output = -1;                   ///< logits
  int loss = -1;                     ///< record whose first element is the loss (training)
  int image_gradient = -1;           ///< d loss / d image, when it was asked for
  int output_gradient = -1;          ///< d loss / d logits, kept when the image's gradient was asked for
  std::int64_t parameter_count = 0;  ///< trainable numbers
  std::int64_t state_count = 0;      ///< running statistics
  std::uint64_t structure = 0;       ///< for weight files (graph/structure.hpp): of an inference

  constexpr const Node& node(Value v) const { return nodes[v.id]; }
  constexpr Shape shape(Value v) const { return nodes[v.id].shape; }
  constexpr const Node& input(const Node& n, int i) const { return nodes[n.input[static_cast<std::size_t>(i)]]; }
};

/// The same graph in arrays of exactly its size, so that the object file carries nothing unused.
template <int Nodes, int Parameters, int Scopes>
constexpr auto shrink(const auto& from) {
  Graph<Nodes, Parameters, Scopes> to;
  for (const auto& n : from.nodes) to.nodes.push_back(n);
  for (const auto& p : from.parameters) to.parameters.push_back(p);
  for (const auto& s : from.scopes) to.scopes.push_back(s);
  for (const auto& p : from.published) to.published.push_back(p);
  to.image = from.image;
  to.labels = from.labels;
  to.pixel_weights = from.pixel_weights;
  to.output = from.output;
  to.loss = from.loss;
  to.image_gradient = from.image_gradient;
  to.output_gradient = from.output_gradient;
  to.parameter_count = from.parameter_count;
  to.state_count = from.state_count;
  to.structure = from.structure;
  return to;
}

/// The max pool that node `id` computes beside its own output; -1: none.
constexpr int pool_of(const auto& graph, int id) {
  if (graph.nodes[id].op != Op::convolution || !graph.nodes[id].pooled) return -1;
  int pool = id + 1;
  while (graph.nodes[pool].op != Op::max_pool || !graph.nodes[pool].pooled || graph.nodes[pool].input[0] != id) ++pool;
  return pool;
}

/// As is_activation(node); labels and pixel weights, leaves like the image, are no activations.
constexpr bool is_activation(const auto& graph, int id) {
  return id != graph.labels && id != graph.pixel_weights && is_activation(graph.nodes[id]);
}

/// Calls `visit(scope)` from the outermost scope to `scope`.
constexpr void for_each_scope(const auto& graph, int scope, auto&& visit) {
  if (graph.scopes[scope].parent >= 0) for_each_scope(graph, graph.scopes[scope].parent, visit);
  visit(graph.scopes[scope]);
}

/// `UNet/encoder[3]/pool`: for people.
inline std::string path_of(const auto& graph, int scope) {
  std::string path;
  for_each_scope(graph, scope, [&](const Scope& s) {
    if (!path.empty()) path += '/';
    path += s.label;
    if (s.index >= 0) path += '[' + std::to_string(s.index) + ']';
  });
  return path;
}

/// Path of an intermediate value that the network publishes, without the network's own name:
/// `decoder[2]/gate/attention`.
inline std::string path_of(const auto& graph, const Published& published) {
  const std::string path = path_of(graph, published.scope);
  return path.substr(path.find('/') + 1);
}

/// `encoder.3.conv1.weight`: for weight files. The network's own name is left out.
inline std::string name_of(const auto& graph, const Parameter& parameter) {
  std::string name;
  for_each_scope(graph, parameter.scope, [&](const Scope& s) {
    if (s.parent < 0) return;
    name += s.label;
    name += '.';
    if (s.index >= 0) name += std::to_string(s.index) + '.';
  });
  return name + parameter.name;
}

}  // namespace ulna
