// SPDX-License-Identifier: MIT
// Runs single nodes of a graph on any backend, with operands laid out as a memory plan may lay them out, and nodes in a
// row on the reference backend.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ulna/backend/eigen/eigen.hpp"
#include "ulna/op/ops.hpp"
#include "ulna/runtime/precision.hpp"

namespace ulna::conformance {

/// A node's output, dense, whatever element type computed it.
using Values = std::vector<double>;

inline bool is_image(const Node& n) {
  return n.per_sample && n.op != Op::moments && n.op != Op::normalize_gradient_sums && n.op != Op::layer_norm_sums &&
         n.op != Op::soft_dice;
}
inline std::size_t size_of(const Node& n, int batch) {
  return static_cast<std::size_t>(n.shape.size()) * static_cast<std::size_t>(n.per_sample ? batch : 1);
}

/// Channels of a wider tensor that lie before and after an operand's own.
struct Layout {
  int before = 0;
  int after = 0;
};

/// A tensor in memory of its own, between elements that nobody may write.
template <class T>
class Operand {
 public:
  Operand(const Node& n, int batch, const Values& values, Layout layout)
      : shape_(n.shape), batch_(n.per_sample ? batch : 1), layout_(layout) {
    stride_ = layout.before + shape_.channels + layout.after;
    memory_.assign(static_cast<std::size_t>(batch_ * shape_.pixels() * stride_ + 2 * guard), sentinel);
    for_each([&](T& element, std::size_t i) { element = static_cast<T>(values.empty() ? nan : values[i]); });
  }

  Tensor<T> tensor() {
    return {memory_.data() + guard + layout_.before, shape_, batch_, stride_,
            static_cast<std::ptrdiff_t>(shape_.pixels()) * stride_};
  }
  Values values() {
    Values all;
    for_each([&](T& element, std::size_t) { all.push_back(static_cast<double>(element)); });
    return all;
  }
  /// Nothing but the operand's own elements was written.
  bool surroundings_kept() {
    for_each([](T& element, std::size_t) { element = sentinel; });
    return std::all_of(memory_.begin(), memory_.end(), [](T element) { return element == sentinel; });
  }

 private:
  static constexpr std::int64_t guard = 64;
  static constexpr T sentinel = T{-12345};
  static constexpr double nan = std::numeric_limits<double>::quiet_NaN();

  void for_each(auto visit) {
    std::size_t i = 0;
    const Tensor<T> t = tensor();
    for (int n = 0; n < batch_; ++n)
      for (std::ptrdiff_t p = 0; p < t.pixels(); ++p)
        for (int c = 0; c < shape_.channels; ++c) visit(t.pixel(n, p)[c], i++);
  }

  Shape shape_;
  int batch_;
  Layout layout_;
  std::ptrdiff_t stride_ = 0;
  std::vector<T> memory_;
};

/// An operand in the type that backend B keeps it in.
template <class B>
class Held {
  using T = typename B::Element;
  using M = MasterOf<B>;

 public:
  Held(bool activation, const Node& n, int batch, const Values& values, Layout layout) {
    if (activation)
      element_.emplace(n, batch, values, layout);
    else
      master_.emplace(n, batch, values, layout);
  }
  Tensor<T> tensor() { return element_ ? element_->tensor() : held_as<T>(master_->tensor()); }
  Values values() { return element_ ? element_->values() : master_->values(); }
  bool surroundings_kept() { return element_ ? element_->surroundings_kept() : master_->surroundings_kept(); }

 private:
  std::optional<Operand<T>> element_;
  std::optional<Operand<M>> master_;
};

/// Dispatches on a run-time op.
template <class Visit, int... I>
auto with_op(Op op, const Visit& visit, std::integer_sequence<int, I...>) {
  using Result = decltype(visit.template operator()<Op::add>());
  using Function = Result (*)(const Visit&);
  static constexpr std::array<Function, sizeof...(I)> table{
      [](const Visit& v) { return v.template operator()<static_cast<Op>(I)>(); }...};
  return table[static_cast<std::size_t>(op)](visit);
}
auto with_op(Op op, const auto& visit) {
  return with_op(op, visit, std::make_integer_sequence<int, static_cast<int>(Op::count)>{});
}

/// How to run a node.
struct Conditions {
  int batch = 1;
  std::uint64_t layout_seed = 0;  ///< 0: every operand dense; otherwise images lie between channels of others
  int in_place = -1;              ///< the input whose memory the output takes over; -1: none
  Values prior{};                 ///< what the output holds before; empty: NaN everywhere
};

/// What a node left behind.
struct Outcome {
  Values output;
  std::array<Values, max_inputs> inputs;
  Values pooled;  ///< what a convolution computes beside its output
};

inline Layout draw_layout(const Node& n, std::uint64_t seed, int operand) {
  if (seed == 0 || !is_image(n)) return {};
  Random random(Seed{seed}, static_cast<std::uint64_t>(operand));
  return {random.below(2) * random.below(9), random.below(2) * random.below(9)};
}

/// Memory of `bytes` bytes on a 64-byte boundary, filled with NaNs, and a way to see whether more was written.
class Scratch {
 public:
  explicit Scratch(std::size_t bytes) : bytes_(bytes), memory_(bytes + 192, std::byte{0xFF}) {
    offset_ = (64 - reinterpret_cast<std::uintptr_t>(memory_.data()) % 64) % 64;
  }
  std::span<std::byte> span() { return {memory_.data() + offset_, bytes_}; }
  bool surroundings_kept() const {
    return std::all_of(memory_.begin() + static_cast<std::ptrdiff_t>(offset_ + bytes_), memory_.end(),
                       [](std::byte b) { return b == std::byte{0xFF}; });
  }

 private:
  std::size_t bytes_;
  std::size_t offset_ = 0;
  std::vector<std::byte> memory_;
};

/// Runs `node` (of `graph`, perhaps altered) on `backend`; `values` holds what every node before it computed.
template <Backend B>
Outcome run_node(B& backend, const Graph<>& graph, const Node& node, const std::vector<Values>& values,
                 const Conditions& with) {
  using T = typename B::Element;
  std::array<std::optional<Held<B>>, max_inputs> inputs;
  for (int i = 0; i < max_inputs; ++i) {
    const int id = node.input[static_cast<std::size_t>(i)];
    if (id < 0) continue;
    const Node& producer = graph.nodes[id];
    inputs[static_cast<std::size_t>(i)].emplace(is_activation(graph, id), producer, with.batch,
                                                values[static_cast<std::size_t>(id)],
                                                draw_layout(producer, with.layout_seed, i));
  }
  Held<B> output(is_activation(node), node, with.batch, with.prior, draw_layout(node, with.layout_seed, max_inputs));
  Held<B>& written = with.in_place < 0 ? output : *inputs[static_cast<std::size_t>(with.in_place)];

  Call<T> call;
  call.node = &node;
  call.batch = with.batch;
  call.seed = Seed{17};
  call.step = 5;
  const bool pools = node.op == Op::convolution && node.pooled;
  Node pool_node{.op = Op::max_pool, .shape = node.shape};
  pool_node.window = window2d(2, 2);
  if (pools) pool_node.shape = shape_of(node.shape.channels, window_output(node.shape.extent(), pool_node.window));
  Held<B> pooled(true, pool_node, pools ? with.batch : 0, {}, draw_layout(pool_node, with.layout_seed, max_inputs + 1));
  Call<T> pool;
  pool.node = &pool_node;
  pool.batch = with.batch;
  if (pools) call.pool = &pool;
  const auto bind = [&](bool addresses) {
    for (std::size_t i = 0; i < max_inputs; ++i)
      if (inputs[i]) call.input[i] = inputs[i]->tensor();
    pool.input[0] = call.output = written.tensor();
    pool.output = pooled.tensor();
    if (addresses) return;
    for (auto& t : call.input) t.data = nullptr;
    pool.input[0].data = pool.output.data = call.output.data = nullptr;
  };
  bind(false);
  Scratch scratch(with_op(node.op, [&]<Op op>() { return B::template scratch_bytes<op>(call, backend.threads()); }));
  bind(true);
  call.scratch = scratch.span();
  const auto kernel = with_op(node.op, [&]<Op op>() { return B::template kernel<op>(node); });
  if (kernel == nullptr) {
    FAIL_CHECK("this backend has no kernel for " << std::string(name_of(node.op)));
    return {};
  }
  backend.run([&] { kernel(call); });

  Outcome outcome;
  outcome.output = written.values();
  for (std::size_t i = 0; i < max_inputs; ++i)
    if (inputs[i]) outcome.inputs[i] = inputs[i]->values();
  if (pools) outcome.pooled = pooled.values();
  CHECK_MESSAGE(scratch.surroundings_kept(), "wrote beyond its scratch memory");
  CHECK_MESSAGE(pooled.surroundings_kept(), "wrote beyond the pooled output");
  CHECK_MESSAGE(output.surroundings_kept(), "wrote beyond its output");
  for (auto& input : inputs) CHECK_MESSAGE((!input || input->surroundings_kept()), "wrote beyond an input");
  return outcome;
}

/// Channels [begin, begin + channels) of a dense image: what a slice is a view of.
inline Values slice_of(const Node& from, const Node& slice, const Values& x) {
  Values y;
  const auto width = static_cast<std::size_t>(from.shape.channels);
  for (std::size_t p = 0; p < x.size() / width; ++p)
    for (int c = 0; c < slice.shape.channels; ++c)
      y.push_back(x[p * width + static_cast<std::size_t>(slice.begin + c)]);
  return y;
}

/// Computes nodes [0, end) in order with Eigen<double>; leaves hold their values already. With `rounded` every result
/// is rounded to T, so that backends of T can be given exactly the same inputs, node by node.
template <class T = float>
void evaluate(const Graph<>& graph, std::vector<Values>& values, int end, int batch, bool rounded) {
  cpu::Eigen<double> reference;
  values.resize(static_cast<std::size_t>(graph.nodes.size()));
  std::array<int, parameter_capacity> gradient_node{};  // the node that wrote a parameter's gradient so far
  for (int id = 0; id < end; ++id) {
    const Node& n = graph.nodes[id];
    if (is_leaf(n.op)) continue;
    Values& y = values[static_cast<std::size_t>(id)];
    if (n.op == Op::slice) {
      y = slice_of(graph.input(n, 0), n, values[static_cast<std::size_t>(n.input[0])]);
      continue;
    }
    Conditions with{.batch = batch};
    const auto p = static_cast<std::size_t>(std::max(n.gradient_of, 0));
    if (n.accumulate) with.prior = values[static_cast<std::size_t>(gradient_node[p])];
    if (n.gradient_of >= 0) gradient_node[p] = id;
    y = run_node(reference, graph, n, values, with).output;
    if (rounded)
      for (double& v : y) v = static_cast<double>(static_cast<T>(v));
  }
}

/// Largest difference, as a share of the largest reference value.
inline double relative_error(const Values& found, const Values& reference) {
  if (found.size() != reference.size()) return std::numeric_limits<double>::infinity();
  double worst = 0;
  double largest = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const double difference = std::abs(found[i] - reference[i]);
    worst = std::isnan(difference) ? std::numeric_limits<double>::infinity() : std::max(worst, difference);
    largest = std::max(largest, std::abs(reference[i]));
  }
  return largest > 0 ? worst / largest : worst;
}

inline bool same_bits(const Values& a, const Values& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0);
}

}  // namespace ulna::conformance
