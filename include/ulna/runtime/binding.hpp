// SPDX-License-Identifier: MIT
// A planned graph bound to memory that somebody else owns: a constexpr table of kernels, and the call of each.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "ulna/backend/backend.hpp"
#include "ulna/error.hpp"
#include "ulna/graph/lower.hpp"
#include "ulna/runtime/precision.hpp"
#include "ulna/runtime/shared_arena.hpp"

namespace ulna {

namespace detail {

constexpr bool uses(const auto& graph, Op op) {
  for (const Node& n : graph.nodes)
    if (n.op == op) return true;
  return false;
}

/// Whether a backend's kernels read the weights of a graph in the order in which they lie.
template <class B>
constexpr bool reads_weights(const auto& graph) {
  for (const Parameter& p : graph.parameters) {
    const WeightOrder of_windows = packed_order<B> == WeightOrder::rows ? WeightOrder::rows : WeightOrder::blocks;
    if (p.order != WeightOrder::rows && p.order != (p.kernel.volume() == 1 ? packed_order<B> : of_windows))
      return false;
  }
  return true;
}

/// Calls `visit.template operator()<op>()` for the node's op; ops that the graph does not use are never instantiated.
template <class Planned, int I = 0>
constexpr auto with_used_op(Op op, auto&& visit) {
  constexpr Op candidate = static_cast<Op>(I);
  if constexpr (I + 1 < static_cast<int>(Op::count)) {
    if constexpr (has_kernel(candidate) && uses(Planned::compiled.graph, candidate)) {
      if (op == candidate) return visit.template operator()<candidate>();
    }
    return with_used_op<Planned, I + 1>(op, visit);
  } else {
    return visit.template operator()<candidate>();
  }
}

/// The kernel of every node, chosen while compiling.
template <class Planned, class B>
constexpr auto kernel_table() {
  constexpr const auto& C = Planned::compiled;
  constexpr int n = C.graph.nodes.size();
  std::array<KernelOf<B>, static_cast<std::size_t>(n)> table{};
  for (int i = 0; i < n; ++i)
    if (has_kernel(C.graph.nodes[i].op))
      table[static_cast<std::size_t>(i)] =
          with_used_op<Planned>(C.graph.nodes[i].op, [&]<Op op>() { return B::template kernel<op>(C.graph.nodes[i]); });
  return table;
}

}  // namespace detail

/// Where the values that outlive a run are kept; owned by models and trainers.
template <class T>
struct ExternalMemory {
  T* parameters = nullptr;
  T* state = nullptr;
  T* gradients = nullptr;
};

/// The calls of a planned graph, `Planned::compiled` (InferenceProgram, TrainingProgram), on backend `B`.
template <class Planned, Backend B>
class Binding {
 public:
  static constexpr const auto& C = Planned::compiled;
  using Element = typename B::Element;
  using Master = MasterOf<B>;

  static_assert(
      detail::reads_weights<B>(C.graph),
      "Ulna: the weights of this program are packed for another backend; run Packed<P, B> on B, and Frozen<P> "
      "or P on every backend");

  /// Everything the calls point at.
  struct Memory {
    ExternalMemory<Master> external{};
    Element* arena = nullptr;
    Master* persistent = nullptr;
    Master* staging = nullptr;
    Master* master_arena = nullptr;
    std::span<std::byte> scratch{};  ///< of every kernel, unless they share the arena
  };

  /// Elements of each part that a batch needs.
  static constexpr std::size_t arena_size(int batch) { return static_cast<std::size_t>(C.plan.arena * batch); }
  static constexpr std::size_t staging_size(int batch) { return static_cast<std::size_t>(C.plan.staging * batch); }
  static constexpr std::size_t master_arena_size(int batch) {
    return static_cast<std::size_t>(master_plan.size * batch);
  }
  static constexpr std::size_t persistent_size = static_cast<std::size_t>(C.plan.persistent);

  Binding() : calls_(static_cast<std::size_t>(C.graph.nodes.size())) {}

  /// The most scratch that a kernel needs for a batch, bytes. Leaves the calls without memory.
  std::size_t scratch_bytes(int batch, int threads) {
    std::size_t most = 0;
    for_each_scratch(batch, threads, [&most](std::size_t, std::size_t bytes) { most = std::max(most, bytes); });
    return most;
  }

  /// From now on scratch lies in the arena, which has room for a batch. Returns the bytes of that arena. Leaves the
  /// calls without memory.
  std::size_t share_arena(int batch, int threads) {
    std::vector<std::size_t> needs(calls_.size());
    for_each_scratch(batch, threads, [&](std::size_t node, std::size_t bytes) { needs[node] = bytes; });
    const auto has = [](int id) { return !mixed || is_activation(C.graph, id); };
    const std::size_t bytes = static_cast<std::size_t>(batch) * sizeof(Element);
    shared_ = SharedArena{lives_of(C, bytes, has), needs, arena_size(batch) * sizeof(Element), batch};
    return shared_.bytes();
  }

  /// Points every call at its memory for `batch` samples.
  void bind(const Memory& memory, int batch) {
    memory_ = memory;
    batch_ = batch;
    for (int i = 0; i < C.graph.nodes.size(); ++i) {
      const Node& n = C.graph.nodes[i];
      auto& call = calls_[static_cast<std::size_t>(i)];
      call.node = &n;
      call.batch = batch;
      call.output = tensor(i);
      for (std::size_t k = 0; k < max_inputs; ++k)
        call.input[k] = n.input[k] >= 0 ? tensor(n.input[k]) : Tensor<Element>{};
      call.scratch = memory.scratch;
      if (shared_.bytes() > 0 && memory.arena != nullptr)
        call.scratch = shared_.scratch(reinterpret_cast<std::byte*>(memory.arena), static_cast<std::size_t>(i), batch);
      const int pool = pool_of(C.graph, i);
      call.pool = pool < 0 ? nullptr : &calls_[static_cast<std::size_t>(pool)];
    }
  }

  const Memory& memory() const { return memory_; }
  int batch() const { return batch_; }

  /// Calls `run(kernel, call)` for the nodes that are evaluated when parameters change, or for all others, in order.
  void for_each_node(bool once, auto&& run) const {
    for (int i = 0; i < C.graph.nodes.size(); ++i)
      if (runs(C.graph.nodes[i]) && C.graph.nodes[i].once == once)
        run(kernels[static_cast<std::size_t>(i)], calls_[static_cast<std::size_t>(i)]);
  }

  /// What dropout draws from.
  void seed(Seed seed, std::uint64_t step) {
    for (auto& call : calls_) {
      call.seed = seed;
      call.step = step;
    }
  }

  /// The memory of a node's output; seen through held_as() when it is no activation.
  Tensor<Element> tensor(int id) const {
    const Node& n = C.graph.nodes[id];
    const Place& p = C.plan.places[id];
    const std::ptrdiff_t batch = batch_;
    Element* base = nullptr;
    std::ptrdiff_t offset = static_cast<std::ptrdiff_t>(p.offset);
    switch (p.storage) {
      case Storage::none:
        return {nullptr, n.shape, batch_, 0, 0};
      case Storage::staging:
        base = element(memory_.staging, offset * batch);
        break;
      case Storage::parameter:
        base = element(memory_.external.parameters, offset);
        break;
      case Storage::state:
        base = element(memory_.external.state, offset);
        break;
      case Storage::gradient:
        base = element(memory_.external.gradients, offset);
        break;
      case Storage::persistent:
        base = element(memory_.persistent, offset);
        break;
      case Storage::arena:
        base = memory_.arena == nullptr ? nullptr : memory_.arena + offset * batch;
        if constexpr (mixed)
          if (!is_activation(C.graph, id))
            base = element(memory_.master_arena, static_cast<std::ptrdiff_t>(master_plan.offset[id]) * batch);
        break;
    }
    const std::ptrdiff_t stride = p.pixel_stride;
    return {base == nullptr ? nullptr : base + p.channel_offset, n.shape, n.per_sample ? batch_ : 1, stride,
            static_cast<std::ptrdiff_t>(n.shape.pixels()) * stride};
  }

  /// The node of a value that the network publishes, by its path. Throws ArgumentError with the paths there are.
  static int published(std::string_view path) {
    std::string known;
    for (const Published& p : C.graph.published) {
      const std::string name = path_of(C.graph, p);
      if (name == path) return p.node;
      known += (known.empty() ? "" : ", ") + name;
    }
    throw ArgumentError("this network publishes no '" + std::string(path) + "'; it publishes " +
                        (known.empty() ? "nothing" : known));
  }

 private:
  static constexpr auto kernels = detail::kernel_table<Planned, B>();
  static constexpr bool mixed = !std::is_same_v<Element, Master>;
  static constexpr auto master_plan = [] {
    if constexpr (mixed)
      return plan_master<Planned>();
    else
      return MasterPlan<1>{};
  }();

  /// Calls visit(node, scratch bytes of its kernel) for a batch.
  void for_each_scratch(int batch, int threads, auto&& visit) {
    bind({}, batch);
    for (int i = 0; i < C.graph.nodes.size(); ++i)
      if (has_kernel(C.graph.nodes[i].op))
        visit(static_cast<std::size_t>(i),
              detail::with_used_op<Planned>(C.graph.nodes[i].op, [&]<Op op>() -> std::size_t {
                return B::template scratch_bytes<op>(calls_[static_cast<std::size_t>(i)], threads);
              }));
  }

  /// Tensors of one type list operands of both: see held_as().
  static Element* element(Master* memory, std::ptrdiff_t offset) {
    return memory == nullptr ? nullptr : reinterpret_cast<Element*>(memory + offset);
  }

  Memory memory_{};
  int batch_ = 0;
  std::vector<Call<Element>> calls_;
  SharedArena shared_;
};

}  // namespace ulna
