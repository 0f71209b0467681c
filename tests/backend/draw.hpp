// SPDX-License-Identifier: MIT
// Draws the operands of a test case: shapes that are no multiples of anything, windows with odd paddings, optional
// inputs.
#pragma once

#include <string_view>
#include <vector>

#include "run_node.hpp"

namespace ulna::conformance {

/// One random case of an op under construction.
class Draw {
 public:
  Draw(std::string_view name, int variant, bool volumes)
      : b(Mode::training), random(Seed{hash(name)}, static_cast<std::uint64_t>(variant)), volumes_(volumes) {
    large = variant % 6 == 5;
    batch = 1 + random.below(3);
  }

  Builder b;
  Random random;
  bool large = false;  ///< large enough that kernels split their work
  int batch = 1;
  std::vector<int> images{};  ///< leaves that gradients are taken by
  std::vector<int> label_leaves{};
  std::vector<int> weight_leaves{};
  int classes = 1;  ///< label leaves hold [0, classes); one class: 0 and 1

  int below(int count) { return random.below(count); }
  bool coin() { return below(2) == 1; }
  int one_of(std::initializer_list<int> choices) {
    return choices.begin()[static_cast<std::size_t>(below(static_cast<int>(choices.size())))];
  }
  int channels() {
    return large ? one_of({3, 8, 16, 17, 24, 33}) : one_of({1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 32, 35, 70});
  }
  int size(int least) { return std::max(least, large ? 30 + below(40) : 1 + below(14)); }

  /// An extent along which `least` pixels fit.
  Extent extent(Extent least = {1, 1, 1}) {
    const int depth = volumes_ ? std::max(least.depth, 1 + below(4)) : 1;
    const int height = size(least.height);
    return {depth, height, size(least.width)};
  }

  /// A window of up to 5 x 5 taps and the given largest stride, dilation and padding.
  Window window(int most_stride, int most_dilation, int most_pad) {
    const auto pick = [&](int low, int most) {
      const int depth = volumes_ ? low + below(most - low + 1) : low;
      const int height = low + below(most - low + 1);
      return Extent{depth, height, low + below(most - low + 1)};
    };
    Window w;
    const int kernel = one_of({1, 2, 3, 3, 3, 5});
    w.kernel = below(3) == 0 ? pick(1, 4) : Extent{volumes_ ? std::min(kernel, 2) : 1, kernel, kernel};
    w.stride = pick(1, most_stride);
    w.dilation = pick(1, most_dilation);
    w.pad_before = pick(0, most_pad);
    w.pad_after = pick(0, most_pad);
    return w;
  }
  /// A pooling window: each window contains a pixel.
  Window pool_window() {
    Window w = window(3, 2, 2);
    const auto half = [](int pad, int kernel) { return std::min(pad, kernel / 2); };
    w.pad_before = eigen::each_axis(half, w.pad_before, w.kernel);
    w.pad_after = eigen::each_axis(half, w.pad_after, w.kernel);
    if (w.pad_before != Extent{0, 0, 0} || w.pad_after != Extent{0, 0, 0}) w.dilation = {1, 1, 1};
    return w;
  }
  /// An input extent that the padded window divides without rest.
  Extent divisible(const Window& w) {
    return eigen::each_axis(
        [](int out, int kernel, int stride, int dilation, int before, int after) {
          const int exact = (out - 1) * stride + span_of(kernel, dilation) - before - after;
          return exact > 0 ? exact : exact + ((-exact) / stride + 1) * stride;
        },
        extent(), w.kernel, w.stride, w.dilation, w.pad_before, w.pad_after);
  }
  /// An input extent that holds the padded window.
  Extent holding(const Window& w) {
    return extent(eigen::each_axis(
        [](int kernel, int dilation, int before, int after) { return span_of(kernel, dilation) - before - after; },
        w.kernel, w.dilation, w.pad_before, w.pad_after));
  }

  Value image(int channel_count, Extent size) {
    const Value v = b.input(shape_of(channel_count, size));
    images.push_back(v.id);
    return v;
  }
  Value image(Extent size) { return image(channels(), size); }
  Value image() { return image(extent()); }
  Value like(Value x) { return image(b.shape(x).channels, b.shape(x).extent()); }
  Value vector(ParameterKind kind, int count) { return b.vector("vector", kind, count); }
  Value maybe(ParameterKind kind, int count) { return coin() ? vector(kind, count) : Value{}; }

  Value logits(int class_count) {
    classes = class_count;
    return image(class_count, extent(large ? Extent{1, 90, 70} : Extent{1, 2, 2}));
  }
  Value labels(Value logits) {
    const Value v = b.input(shape_of(1, b.shape(logits).extent()));
    label_leaves.push_back(v.id);
    b.graph.labels = v.id;
    return v;
  }
  Value maybe_weights(Value logits) {
    if (coin()) return {};
    const Value v = b.input(shape_of(1, b.shape(logits).extent()));
    weight_leaves.push_back(v.id);
    b.graph.pixel_weights = v.id;
    return v;
  }

  /// y with a random fused activation.
  Value fused(Value y) {
    Node& n = b.graph.nodes[y.id];
    n.activation = static_cast<Activation>(below(4));
    n.slope = random.uniform(0.05f, 0.3f);
    return y;
  }

  /// Values of all leaves, exact in T and in float.
  template <class T = float>
  std::vector<Values> leaves() {
    std::vector<Values> values(static_cast<std::size_t>(b.graph.nodes.size()));
    for (int id = 0; id < b.graph.nodes.size(); ++id) {
      const Node& n = b.graph.nodes[id];
      if (!is_leaf(n.op)) continue;
      Values& v = values[static_cast<std::size_t>(id)];
      v.resize(size_of(n, batch));
      for (double& x : v) x = static_cast<double>(static_cast<T>(leaf_value(n, id)));
    }
    return values;
  }

 private:
  static constexpr std::uint64_t hash(std::string_view text) {
    std::uint64_t h = 14695981039346656037u;  // FNV-1a: a case's draws do not depend on what else is in the list
    for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 1099511628211u;
    return h;
  }

  float leaf_value(const Node& n, int id) {
    const auto holds = [id](const std::vector<int>& list) {
      return std::find(list.begin(), list.end(), id) != list.end();
    };
    if (holds(label_leaves)) return static_cast<float>(below(classes == 1 ? 2 : classes));
    if (holds(weight_leaves)) return below(4) == 0 ? 0.0f : random.uniform(0.1f, 2.0f);
    if (n.op == Op::parameter && b.graph.parameters[n.parameter].kind == ParameterKind::running_variance)
      return random.uniform(0.3f, 2.0f);
    return random.normal();
  }

  bool volumes_;
};

/// A line of the list of ops.
struct OpCase {
  const char* name;
  Value (*build)(Draw&);       ///< builds a tiny graph and returns the value whose gradient is checked
  bool differentiable = true;  ///< false: inference only; values are compared, there is no gradient
};

}  // namespace ulna::conformance
