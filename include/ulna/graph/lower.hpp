// SPDX-License-Identifier: MIT
// From a network type to planned graphs, and what to say when it does not fit.
#pragma once

#include <type_traits>

#include "ulna/graph/analyse.hpp"
#include "ulna/graph/fuse.hpp"
#include "ulna/graph/gradient.hpp"
#include "ulna/graph/plan.hpp"
#include "ulna/graph/recompute.hpp"
#include "ulna/graph/structure.hpp"

namespace ulna {

/// A graph, its plan, and nothing that was only needed while compiling.
template <int Nodes, int Parameters, int Scopes>
struct Compiled {
  Graph<Nodes, Parameters, Scopes> graph{};
  Plan<Nodes> plan{};
};

namespace detail {

template <class Net>
constexpr const char* network_name() {
  if constexpr (requires { Net::name; })
    return Net::name;
  else
    return "Network";
}

/// Lowers the network alone.
template <class Net>
constexpr Builder lower_network(Shape image, Mode mode) {
  Builder b{mode, network_name<Net>()};
  const Value x = b.input(image);
  b.graph.image = x.id;
  b.graph.output = Net::lower(b, x).id;
  return b;
}

/// Lowers the network and a loss on its output.
template <class Net, class Loss>
constexpr Builder lower_training(Shape image) {
  Builder b = lower_network<Net>(image, Mode::training);
  const Value logits{b.graph.output};
  const Extent extent = b.shape(logits).extent();
  const Value labels = b.input(shape_of(1, extent));
  const Value weights = Loss::pixel_weights ? b.input(shape_of(1, extent)) : Value{};
  b.graph.labels = labels.id;
  b.graph.pixel_weights = weights.id;
  const auto s = b.scope("loss");
  if (b.supervised.empty()) b.supervise(logits, 1.0f);
  Value total{};
  for (const auto& head : b.supervised) {
    const Value loss = Loss::lower(b, Value{head.logits}, labels, weights);
    total = total ? op::weighted_sum(b, total, 1.0f, loss, head.weight) : op::weighted_sum(b, loss, head.weight);
  }
  b.graph.loss = total.id;
  return b;
}

/// Whether a square image of that size breaks no rule that another size could satisfy.
template <class Net>
constexpr bool size_fits(Shape image, int size) {
  image.height = image.width = size;
  const Builder b = lower_network<Net>(image, Mode::inference);
  return !(b.diagnostic && b.diagnostic.remedy_is_input_extent);
}

/// "; input height 125 could be 112 or 128": the nearest extents that fit.
template <class Net>
constexpr void add_remedy(Diagnostic& d, Shape image) {
  constexpr int farthest = 64;
  for (const Axis axis : {Axis::height, Axis::width}) {
    const int extent = along(image.extent(), axis);
    if (axis == Axis::width && image.width == image.height) break;
    if (size_fits<Net>(image, extent)) continue;
    int below = 0;
    int above = 0;
    for (int step = 1; step <= farthest && below == 0; ++step)
      if (extent - step > 0 && size_fits<Net>(image, extent - step)) below = extent - step;
    for (int step = 1; step <= farthest && above == 0; ++step)
      if (size_fits<Net>(image, extent + step)) above = extent + step;
    d.sentence << "; make the input " << op::axis_name(axis) << " ";
    if (below != 0 && above != 0) {
      const int period = above - below;
      if (above % period == 0) d.sentence << "a multiple of " << period << ": ";
      d.sentence << below << " or " << above;
    } else if (below + above != 0) {
      d.sentence << below + above;
    } else {
      d.sentence << "larger";
    }
    d.sentence << " instead of " << extent;
  }
}

template <class Net>
constexpr Diagnostic diagnose(Shape image) {
  Diagnostic d = lower_network<Net>(image, Mode::inference).diagnostic;
  // Where a kernel does not fit, a fitting extent is far away: too far to search, and the sentence says "larger"
  // already.
  if (d && d.remedy_is_input_extent && d.rule != RuleKind::kernel_must_fit) add_remedy<Net>(d, image);
  return d;
}

/// Working sizes, while compiling.
using Draft = Compiled<node_capacity, parameter_capacity, scope_capacity>;

template <const Draft& D>
constexpr auto finished() {
  Compiled<D.graph.nodes.size(), D.graph.parameters.size(), D.graph.scopes.size()> c;
  c.graph = shrink<D.graph.nodes.size(), D.graph.parameters.size(), D.graph.scopes.size()>(D.graph);
  for (const Place& p : D.plan.places) c.plan.places.push_back(p);
  c.plan.arena = D.plan.arena;
  c.plan.persistent = D.plan.persistent;
  c.plan.staging = D.plan.staging;
  c.plan.unplanned = D.plan.unplanned;
  return c;
}

template <class Net>
constexpr Draft draft_inference(Shape image) {
  Draft d;
  const Graph<> lowered = lower_network<Net>(image, Mode::inference).graph;
  d.graph = fuse(lowered);
  d.graph.structure = structure_of(lowered);
  d.plan = plan(d.graph);
  return d;
}

/// `Units`: what is computed again together, see graph/recompute.hpp.
template <class Net, class Loss, class Units = Nothing>
constexpr Draft draft_training(Shape image, bool image_gradient) {
  Builder b = lower_training<Net, Loss>(image);
  b.graph = fuse(b.graph);
  [[maybe_unused]] const int forward = b.graph.nodes.size();
  differentiate(b, image_gradient);
  if constexpr (!std::is_same_v<Units, Nothing>) b.graph = recompute<Units>(b.graph, forward);
  Draft d;
  d.graph = b.graph;
  d.plan = plan(d.graph);
  return d;
}

}  // namespace detail
}  // namespace ulna
