// SPDX-License-Identifier: MIT
// Weights in the order, and the type, in which products read them: packed when parameters change, so that a run only
// reads them. Training changes parameters at every step and packs them there, at each use.
#pragma once

#include <cstddef>
#include <vector>

#include "ulna/runtime/binding.hpp"

namespace ulna::cuda {

/// The packed weights of the planned graph `Planned::compiled` on device backend `B`. A weight that several nodes use,
/// as recurrent blocks do, is packed once.
template <class Planned, class B>
class PackedWeights {
 public:
  static constexpr const auto& C = Planned::compiled;
  using Element = typename B::Element;
  using Master = typename B::Master;

  explicit PackedWeights(const typename B::Execution& on)
      : of_node_(static_cast<std::size_t>(C.graph.nodes.size()), none) {
    if (C.graph.loss >= 0) return;
    Binding<Planned, B> shapes;
    shapes.bind({}, 1);
    shapes.for_each_node(false, [&](auto, const Call<Element>& call) { take(on, call); });
  }

  /// Bytes of all of them.
  std::size_t bytes() const { return bytes_; }

  /// Where a node's weight lies; null: it is not packed, or read as it is. `base`: of bytes() bytes, aligned to 256.
  std::byte* of(const Call<Element>& call, std::byte* base) const {
    const std::size_t weight = of_node_[static_cast<std::size_t>(index_of(call))];
    return weight == none ? nullptr : base + weights_[weight].offset;
  }

  /// Whether a node is the first that uses its weight, and packs it for all.
  bool packs(const Call<Element>& call) const {
    const std::size_t weight = of_node_[static_cast<std::size_t>(index_of(call))];
    return weight != none && weights_[weight].first_user == index_of(call);
  }

 private:
  /// Everything that decides how a weight is packed.
  struct User {
    int weight;
    Op op;
    Window window;
    Shape input;
    int channel_offset, pixel_stride;  ///< of the input, modulo the largest chunk
    bool swapped;
    bool operator==(const User&) const = default;
  };
  struct Weight {
    User user;
    int first_user;
    std::size_t offset;
  };
  static constexpr auto none = static_cast<std::size_t>(-1);

  static int index_of(const Call<Element>& call) { return static_cast<int>(call.node - &C.graph.nodes[0]); }

  void take(const typename B::Execution& on, const Call<Element>& call) {
    const Node& n = *call.node;
    if (n.op != Op::convolution && n.op != Op::transposed_convolution) return;
    const int node = n.input[1];
    const Place& x = C.plan.places[n.input[0]];
    const User user{node,           n.op, n.window, call.input[0].shape, x.channel_offset % 8, x.pixel_stride % 8,
                    n.swap_channels};
    std::size_t& to = of_node_[static_cast<std::size_t>(index_of(call))];
    for (std::size_t i = 0; i < weights_.size(); ++i)
      if (weights_[i].user == user) {
        to = i;
        return;
      }
    const bool aligned = static_cast<std::size_t>(C.plan.places[node].offset) * sizeof(Master) % 16 == 0;
    const std::size_t bytes = B::packed_weight_bytes(on, call, aligned);
    if (bytes == 0) return;
    to = weights_.size();
    weights_.push_back({user, index_of(call), bytes_});
    bytes_ += (bytes + 255) / 256 * 256;
  }

  std::vector<std::size_t> of_node_;  ///< index into weights_
  std::vector<Weight> weights_;
  std::size_t bytes_ = 0;
};

}  // namespace ulna::cuda
