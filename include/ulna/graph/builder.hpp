// SPDX-License-Identifier: MIT
// Lowering appends nodes here. Layers know only this class and the functions of `op/`.
#pragma once

#include "ulna/graph/diagnostic.hpp"
#include "ulna/graph/graph.hpp"

namespace ulna {

/// What the program is lowered for: dropout and batch norm differ.
enum class Mode : unsigned char { inference, training };

class Builder;

/// `UNet/encoder[3]/pool`, in a constant expression.
constexpr Sentence path_words(const auto& graph, int scope) {
  Sentence words;
  for_each_scope(graph, scope, [&](const Scope& s) {
    if (!words.empty()) words << "/";
    words << s.label;
    if (s.index >= 0) words << "[" << s.index << "]";
  });
  return words;
}

/// Names everything appended during its lifetime: `auto s = b.scope("encoder", 3);`.
class [[nodiscard]] ScopeGuard {
 public:
  constexpr ScopeGuard(Builder& builder, int previous) : builder_(builder), previous_(previous) {}
  ScopeGuard(const ScopeGuard&) = delete;
  ScopeGuard& operator=(const ScopeGuard&) = delete;
  constexpr ~ScopeGuard();

 private:
  Builder& builder_;
  int previous_;
};

class Builder {
 public:
  constexpr explicit Builder(Mode mode, const char* name = "Network") : mode_(mode) {
    graph.scopes.push_back({-1, name, -1});
  }

  Graph<> graph{};
  Diagnostic diagnostic{};

  struct Supervised {
    int logits = -1;
    float weight = 1.0f;
  };
  FixedVector<Supervised, published_capacity> supervised{};

  constexpr bool training() const { return mode_ == Mode::training; }
  constexpr Shape shape(Value v) const { return graph.nodes[v.id].shape; }

  /// Opens a level of the module path until the guard ends.
  constexpr ScopeGuard scope(const char* label, int index = -1) {
    const int previous = scope_;
    graph.scopes.push_back({scope_, label, index});
    scope_ = graph.scopes.size() - 1;
    return ScopeGuard{*this, previous};
  }

  /// Appends a node in the current scope.
  constexpr Value append(Node node) {
    node.scope = scope_;
    graph.nodes.push_back(node);
    return {graph.nodes.size() - 1};
  }

  /// Keeps `value` readable after a run under the path `<this scope>/name`: attention maps, logits of further heads.
  constexpr void publish(const char* name, Value value) {
    const auto s = scope(name);
    graph.published.push_back({scope_, value.id});
  }

  /// While training, the loss is also taken on `logits`, and counts `weight` in the total (deep supervision). A network
  /// that calls this lists all its supervised logits, its output included; without a call the output alone counts.
  constexpr void supervise(Value logits, float weight) { supervised.push_back({logits.id, weight}); }

  constexpr Value input(Shape shape) { return append({.op = Op::input, .shape = shape}); }

  /// A convolution weight: memory [tap][in][out].
  constexpr Value weight(const char* name, int in, int out, Extent kernel) {
    return parameter({scope_, name, ParameterKind::weight, kernel, in, out, 0, static_cast<double>(kernel.volume())});
  }
  /// The weight of a transposed convolution from `in` to `out` channels: memory [tap][in][out].
  constexpr Value transposed_weight(const char* name, int in, int out, Extent kernel, Extent stride = {}) {
    const double taps = static_cast<double>(kernel.volume()) / static_cast<double>(stride.volume());
    return parameter({scope_, name, ParameterKind::transposed_weight, kernel, in, out, 0, taps});
  }
  /// Lets a transposed weight start as linear interpolation, channel by channel, instead of at random.
  constexpr void start_as_interpolation(Value weight) {
    graph.parameters[graph.nodes[weight.id].parameter].interpolates = true;
  }
  /// A matrix that maps `in` to `out` channels at every pixel: memory [in][out].
  constexpr Value linear_weight(const char* name, int in, int out) {
    return parameter({scope_, name, ParameterKind::linear_weight, Extent{}, in, out, 0});
  }
  /// A vector of `channels` for each pixel of a map: memory [pixel][channel].
  constexpr Value embedding(const char* name, Extent map, int channels) {
    return parameter({scope_, name, ParameterKind::embedding, map, 1, channels, 0});
  }
  /// One number for each of `channels`: bias, scale or running statistic.
  constexpr Value vector(const char* name, ParameterKind kind, int channels) {
    return parameter({scope_, name, kind, Extent{}, 1, channels, 0});
  }

  /// Records a broken rule, unless one was recorded before. `sentence` goes on from the path: "height 125 is not ...".
  constexpr void fail(RuleKind rule, int found, int required, const Sentence& sentence, bool remedy_is_input_extent) {
    if (diagnostic) return;
    diagnostic.rule = rule;
    diagnostic.found = found;
    diagnostic.required = required;
    diagnostic.remedy_is_input_extent = remedy_is_input_extent;
    diagnostic.sentence = path();
    diagnostic.sentence << ": " << sentence;
  }

  /// The path of the current scope.
  constexpr Sentence path() const { return path_words(graph, scope_); }

 private:
  friend class ScopeGuard;

  constexpr Value parameter(Parameter p) {
    auto& total = is_trainable(p.kind) ? graph.parameter_count : graph.state_count;
    p.offset = total;
    total += p.size();
    graph.parameters.push_back(p);
    Node node{.op = Op::parameter, .shape = {p.out, 1, p.kernel.depth * p.kernel.height * p.kernel.width, p.in}};
    node.parameter = graph.parameters.size() - 1;
    node.per_sample = false;
    return append(node);
  }

  Mode mode_;
  int scope_ = 0;
};

constexpr ScopeGuard::~ScopeGuard() { builder_.scope_ = previous_; }

}  // namespace ulna
