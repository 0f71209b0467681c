// SPDX-License-Identifier: MIT
// What every op must satisfy on every backend.
#pragma once

#include <memory>

#include "draw.hpp"
#include "ulna/bf16.hpp"

namespace ulna::conformance {

inline constexpr double float_tolerance = 2e-5;   ///< of a tensor's largest value
inline constexpr double bf16_tolerance = 4.1e-3;  ///< half a unit of the last of 8 bits is 1/512 to 1/256 of the value

/// Backends that can be made with a number of threads are; the others run one.
template <class B>
B make_backend(int threads) {
  if constexpr (std::constructible_from<B, int>)
    return B(threads);
  else
    return B();
}

inline bool is_loss(Op op) {
  return op == Op::cross_entropy || op == Op::binary_cross_entropy || op == Op::soft_dice || op == Op::weighted_sum;
}

/// A type for a function: compared instead of addresses, which GCC refuses in constant expressions under sanitizers.
template <auto Function>
struct Holds {};

/// Appends the backward graph of y, given the leaf that holds its gradient dy (a loss needs none): what
/// ulna::differentiate does for a loss. `image`: a leaf to take the gradient by beside all parameters, -1: none.
/// Returns the gradient by that image.
inline Value append_gradient(Builder& b, Value y, Value dy, int image) {
  b.graph.image = image;
  Backward d{b, image >= 0};
  if (!d.wanted(y.id)) return {};
  if (is_loss(b.graph.node(y).op))
    d.loss_weight(y.id) = 1.0f;
  else
    d.contribute(y.id, dy);
  for (int id = d.forward_size() - 1; id >= 0; --id) {
    const Node n = b.graph.nodes[id];
    const bool reached = d.gradient(id).id >= 0 || d.loss_weight(id) != 0.0f;
    if (!reached || is_leaf(n.op) || !d.wanted(id)) continue;
    with_op(n.op, [&]<Op op>() {
      using Rule = OpRule<op>;
      if constexpr (!std::same_as<Holds<&Rule::differentiate>, Holds<&OpDefaults::differentiate>>)
        Rule::differentiate(d, n, id, d.gradient(id));
      else
        FAIL_CHECK("no gradient rule for " << Rule::name);
    });
  }
  return image >= 0 ? d.gradient(image) : Value{};
}

/// A leaf for the gradient of y; none for a loss.
inline Value append_dy(Builder& b, Value y) {
  return is_loss(b.graph.node(y).op) ? Value{} : b.append({.op = Op::input, .shape = b.shape(y)});
}

// --- gradients
// --------------------------------------------------------------------------------------------------------

/// The number whose gradient is checked: sum of dy y, or the mean over its records of a loss.
inline double objective(const Graph<>& graph, std::vector<Values> values, Value y, Value dy, int batch) {
  evaluate(graph, values, y.id + 1, batch, false);
  const Values& out = values[static_cast<std::size_t>(y.id)];
  double sum = 0;
  if (dy) {
    const Values& factor = values[static_cast<std::size_t>(dy.id)];
    for (std::size_t i = 0; i < out.size(); ++i) sum += factor[i] * out[i];
    return sum;
  }
  const auto width = static_cast<std::size_t>(graph.shape(y).size());
  for (std::size_t i = 0; i < out.size(); i += width) sum += out[i];
  return sum * static_cast<double>(width) / static_cast<double>(out.size());
}

/// Whether the derivative along `direction` of leaf `leaf` is what `gradient` says. Steps of several sizes: a step may
/// cross the kink of a ReLU or of a maximum, but a wrong gradient agrees with none.
inline bool derivative_agrees(const Graph<>& graph, std::vector<Values> values, Value y, Value dy, int batch, int leaf,
                              const Values& gradient, const Values& direction) {
  double expected = 0;
  double squares = 0;
  for (std::size_t i = 0; i < gradient.size(); ++i) {
    expected += gradient[i] * direction[i];
    squares += gradient[i] * direction[i] * gradient[i] * direction[i];
  }
  const Values at = values[static_cast<std::size_t>(leaf)];
  double best = std::numeric_limits<double>::infinity();
  for (const double step : {1e-4, 1e-6, 1e-8}) {
    double side[2]{};
    for (const int sign : {-1, 1}) {
      Values& moved = values[static_cast<std::size_t>(leaf)];
      for (std::size_t i = 0; i < at.size(); ++i) moved[i] = at[i] + sign * step * direction[i];
      side[sign > 0] = objective(graph, values, y, dy, batch);
    }
    const double found = (side[1] - side[0]) / (2 * step);
    const double noise = 4e-15 * (std::abs(side[0]) + 1) / step;
    best = std::min(best, std::abs(found - expected) - noise);
    if (best <= 1e-6 * std::sqrt(squares)) return true;
  }
  MESSAGE("leaf " << leaf << " of " << gradient.size() << " numbers: derivative differs from " << expected << " by "
                  << best);
  return false;
}

/// Central differences in double of every leaf that has a gradient, along a random direction and two coordinates.
inline void check_gradient_of(Draw& d, Value y, Value dy, const std::vector<Values>& leaves, int image) {
  const auto b = std::make_unique<Builder>(d.b);
  const Value by_image = append_gradient(*b, y, dy, image);
  std::vector<Values> values = leaves;
  evaluate(b->graph, values, b->graph.nodes.size(), d.batch, false);
  const auto check = [&](int leaf, const Values& gradient) {
    REQUIRE(gradient.size() == leaves[static_cast<std::size_t>(leaf)].size());
    Values direction(gradient.size());
    for (double& v : direction) v = static_cast<double>(d.random.normal());
    CHECK(derivative_agrees(d.b.graph, leaves, y, dy, d.batch, leaf, gradient, direction));
    for (int k = 0; k < 2; ++k) {
      std::fill(direction.begin(), direction.end(), 0.0);
      direction[static_cast<std::size_t>(d.below(static_cast<int>(direction.size())))] = 1.0;
      CHECK(derivative_agrees(d.b.graph, leaves, y, dy, d.batch, leaf, gradient, direction));
    }
  };
  if (image >= 0) {
    REQUIRE(by_image);
    return check(image, values[static_cast<std::size_t>(by_image.id)]);
  }
  for (int leaf = 0; leaf < d.b.graph.nodes.size(); ++leaf) {
    const Node& n = d.b.graph.nodes[leaf];
    if (n.op != Op::parameter || !is_trainable(d.b.graph.parameters[n.parameter].kind)) continue;
    int writer = -1;  // the last node that wrote the gradient has accumulated the others
    for (int id = 0; id < b->graph.nodes.size(); ++id)
      if (b->graph.nodes[id].gradient_of == n.parameter) writer = id;
    REQUIRE(writer >= 0);
    check(leaf, values[static_cast<std::size_t>(writer)]);
  }
}

inline void check_gradients(Draw& d, Value y) {
  const Value dy = append_dy(d.b, y);
  const std::vector<Values> leaves = d.leaves();
  check_gradient_of(d, y, dy, leaves, -1);
  for (const int image : d.images) check_gradient_of(d, y, dy, leaves, image);
}

// --- backends
// ---------------------------------------------------------------------------------------------------------

/// Node `n` on backend B with the same inputs as the reference: the same numbers, the same bits on any number of
/// threads, and the same bits in place.
template <class B>
void check_node(const Graph<>& graph, const Node& n, const std::vector<Values>& values, Conditions with) {
  cpu::Eigen<double> reference;
  const Outcome expected = run_node(reference, graph, n, values, with);
  B one = make_backend<B>(1);
  const Outcome found = run_node(one, graph, n, values, with);
  const bool rounded = std::is_same_v<typename B::Element, bf16> && is_activation(n);
  CHECK(relative_error(found.output, expected.output) <= (rounded ? bf16_tolerance : float_tolerance));
  CHECK(relative_error(found.pooled, expected.pooled) <= (rounded ? bf16_tolerance : float_tolerance));
  for (std::size_t i = 0; i < max_inputs; ++i)  // update_running writes its inputs, the others must leave them alone
    CHECK(relative_error(found.inputs[i], expected.inputs[i]) <= (n.op == Op::update_running ? float_tolerance : 0.0));
  if constexpr (std::constructible_from<B, int>)
    for (const int threads : {2, 4}) {
      B several = make_backend<B>(threads);
      const Outcome other = run_node(several, graph, n, values, with);
      CHECK_MESSAGE(same_bits(other.output, found.output), threads << " threads");
      CHECK_MESSAGE(same_bits(other.pooled, found.pooled), threads << " threads");
    }
  with.in_place =
      n.residual != ResidualSum::none ? residual_input : with_op(n.op, []<Op op>() { return OpRule<op>::in_place; });
  if (with.in_place >= 0 && is_image(n)) {
    CHECK_MESSAGE(same_bits(run_node(one, graph, n, values, with).output, found.output), "in place");
  }
}

/// Every node of a case, forward and backward, on backend B. Marks the ops that ran.
template <class B>
void check_backend(Draw& d, Value y, bool differentiable, std::array<bool, static_cast<std::size_t>(Op::count)>& ran) {
  const Value dy = append_dy(d.b, y);
  std::vector<Values> values = d.leaves<typename B::Element>();
  const auto b = std::make_unique<Builder>(d.b);
  if (differentiable) append_gradient(*b, y, dy, d.images.empty() ? -1 : d.images.front());
  const Graph<>& graph = b->graph;
  evaluate<typename B::Element>(graph, values, graph.nodes.size(), d.batch, true);
  for (int id = 0; id < graph.nodes.size(); ++id) {
    Node n = graph.nodes[id];
    ran[static_cast<std::size_t>(n.op)] = true;
    if (is_leaf(n.op) || n.op == Op::slice) continue;
    INFO("node " << id << ", " << std::string(name_of(n.op)) << ", activation " << static_cast<int>(n.activation)
                 << ", channels " << n.shape.channels << ", height " << n.shape.height << ", width " << n.shape.width
                 << ", batch " << d.batch);
    for (const bool accumulate : {false, true}) {
      if (accumulate && n.gradient_of < 0) continue;
      Conditions with{.batch = d.batch, .layout_seed = static_cast<std::uint64_t>(id) + 1};
      n.accumulate = accumulate;
      if (accumulate)
        for (std::size_t i = 0; i < size_of(n, d.batch); ++i)
          with.prior.push_back(static_cast<double>(d.random.normal()));
      check_node<B>(graph, n, values, with);
    }
  }
}

// --- position independence
// --------------------------------------------------------------------------------------------

/// Part of an image, dense: `size` pixels from `first`.
inline Values part_of(const Values& x, const Shape& whole, int batch, Extent first, Extent size) {
  Values part;
  for (int n = 0; n < batch; ++n)
    for (std::ptrdiff_t p = 0; p < size.volume(); ++p) {
      const Extent at = eigen::each_axis([](int a, int b) { return a + b; }, first, eigen::position_of(p, size));
      const auto from =
          static_cast<std::size_t>((n * whole.pixels() + eigen::index_of(at, whole.extent())) * whole.channels);
      part.insert(part.end(), x.begin() + static_cast<std::ptrdiff_t>(from),
                  x.begin() + static_cast<std::ptrdiff_t>(from) + whole.channels);
    }
  return part;
}

/// How many output pixels an input pixel steps (upsampling) or the other way round.
struct Scale {
  Extent out{1, 1, 1};
  Extent in{1, 1, 1};
};
inline Scale scale_of(const Node& n) {
  switch (n.op) {
    case Op::convolution:
    case Op::max_pool:
    case Op::average_pool:
      return {{1, 1, 1}, n.window.stride};
    case Op::transposed_convolution:
    case Op::upsample_nearest:
    case Op::upsample_bilinear:
      return {n.window.stride, {1, 1, 1}};
    default:
      return {};
  }
}

/// Ops of inference whose output extent is a function of the input extent and whose pixels are alike everywhere.
inline bool is_local(const Node& n) {
  switch (n.op) {
    case Op::convolution:
    case Op::transposed_convolution:
    case Op::max_pool:
    case Op::average_pool:
    case Op::upsample_nearest:
    case Op::normalize:
    case Op::affine:
    case Op::activation:
    case Op::softmax:
    case Op::add:
    case Op::multiply:
    case Op::scale:
    case Op::concat:
      return true;
    case Op::upsample_bilinear:
      return !n.align_corners;
    default:
      return false;
  }
}

inline Extent output_extent(const Node& n, Extent input) {
  if (n.op == Op::transposed_convolution) return transposed_output(input, n.window);
  const Scale scale = scale_of(n);
  if (scale.in == Extent{1, 1, 1} && n.op != Op::convolution && n.op != Op::max_pool && n.op != Op::average_pool)
    return eigen::each_axis([](int a, int f) { return a * f; }, input, scale.out);
  return window_output(input, n.window);
}

/// The first node of a case computed on a part of its input: where both see the same pixels, the same bits. Returns how
/// many pixels were compared.
template <class B>
int check_positions(Draw& d, const Node& whole, const Graph<>& graph, const std::vector<Values>& values) {
  const Scale scale = scale_of(whole);
  const Extent input = graph.input(whole, 0).shape.extent();
  const auto draw_first = [&](int size, int out, int step) {
    return out > 1 ? d.below(std::max(size / 2 / step, 1)) : 0;
  };
  const Extent k = eigen::each_axis(draw_first, input, whole.shape.extent(), scale.in);
  const auto product = [](int a, int b) { return a * b; };
  const Extent first = eigen::each_axis(product, k, scale.in);
  const Extent size =
      eigen::each_axis([&](int all, int begin) { return all - begin - d.below((all - begin) / 4 + 1); }, input, first);
  const Extent out = output_extent(whole, size);
  if (out.depth < 1 || out.height < 1 || out.width < 1) return 0;

  const auto small = std::make_unique<Graph<>>(graph);
  std::vector<Values> parts = values;
  Node node = whole;
  node.shape = shape_of(whole.shape.channels, out);
  for (int i = 0; i < node.inputs(); ++i) {
    const int id = node.input[static_cast<std::size_t>(i)];
    if (id < 0 || !is_image(graph.nodes[id]) || graph.nodes[id].op == Op::parameter) continue;
    const Shape shape = graph.nodes[id].shape;
    const bool residual = node.residual != ResidualSum::none && i == residual_input;  // lies as the output does
    const Extent begin = residual ? k : first;
    const Extent part = residual ? out : size;
    parts[static_cast<std::size_t>(id)] = part_of(values[static_cast<std::size_t>(id)], shape, d.batch, begin, part);
    small->nodes[id].shape = shape_of(shape.channels, part);
  }
  const Conditions with{.batch = d.batch, .layout_seed = 3};
  B backend = make_backend<B>(1);
  const Values of_whole = run_node(backend, graph, whole, values, with).output;
  const Values of_part = run_node(backend, *small, node, parts, with).output;

  if (of_whole.empty() || of_part.empty()) return 0;

  int compared = 0;
  const Extent shift = eigen::each_axis(product, k, scale.out);
  for (std::ptrdiff_t p = 0; p < out.volume(); ++p) {
    const Extent at = eigen::position_of(p, out);
    const bool sees_part_alone = with_op(whole.op, [&]<Op op>() {
      for (const Axis axis : op::all_axes) {
        const Interval reach = OpRule<op>::reach(whole, axis, {along(at, axis), along(at, axis), true});
        if (!reach.bounded || reach.low < 0 || reach.high >= along(size, axis)) return false;
      }
      return true;
    });
    const Extent there = eigen::each_axis([](int a, int b) { return a + b; }, at, shift);
    if (!sees_part_alone || !eigen::inside(there, whole.shape.extent())) continue;
    ++compared;
    if (!same_bits(part_of(of_part, node.shape, d.batch, at, {1, 1, 1}),
                   part_of(of_whole, whole.shape, d.batch, there, {1, 1, 1}))) {
      FAIL_CHECK("pixel " << at.height << ", " << at.width << " of a part differs from pixel " << there.height << ", "
                          << there.width << " of the whole");
      return compared;
    }
  }
  return compared;
}

}  // namespace ulna::conformance
