// SPDX-License-Identifier: MIT
// Runs a planned graph: a constexpr table of kernels over one arena. Nothing is allocated after construction.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "ulna/backend/backend.hpp"
#include "ulna/error.hpp"
#include "ulna/graph/lower.hpp"
#include "ulna/runtime/buffer.hpp"
#include "ulna/runtime/precision.hpp"

namespace ulna {

namespace detail {

constexpr bool uses(const auto& graph, Op op) {
  for (const Node& n : graph.nodes)
    if (n.op == op) return true;
  return false;
}

/// Ops that the plan resolves, or that the door fills.
constexpr bool runs(Op op) { return !is_leaf(op) && op != Op::slice; }

/// Calls `visit.template operator()<op>()` for the node's op; ops that the graph does not use are never instantiated.
template <const auto& C, int I = 0>
constexpr auto with_used_op(Op op, auto&& visit) {
  constexpr Op candidate = static_cast<Op>(I);
  if constexpr (I + 1 < static_cast<int>(Op::count)) {
    if constexpr (runs(candidate) && uses(C.graph, candidate)) {
      if (op == candidate) return visit.template operator()<candidate>();
    }
    return with_used_op<C, I + 1>(op, visit);
  } else {
    return visit.template operator()<candidate>();
  }
}

/// The largest batch that an executor is made for, or ArgumentError.
inline int required_batch(int batch) {
  if (batch < 1) throw ArgumentError("batch is " + std::to_string(batch) + ", must be at least 1");
  return batch;
}

/// The kernel of every node, chosen while compiling.
template <const auto& C, class B>
constexpr auto kernel_table() {
  constexpr int n = C.graph.nodes.size();
  std::array<Kernel<typename B::Element>, static_cast<std::size_t>(n)> table{};
  for (int i = 0; i < n; ++i)
    if (runs(C.graph.nodes[i].op))
      table[static_cast<std::size_t>(i)] =
          with_used_op<C>(C.graph.nodes[i].op, [&]<Op op>() { return B::template kernel<op>(C.graph.nodes[i]); });
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

/// The graph and plan of `C` on backend `B` for up to `max_batch` samples.
template <const auto& C, Backend B>
class Executor {
 public:
  using Element = typename B::Element;
  using Master = MasterOf<B>;

  Executor(B& backend, int max_batch, ExternalMemory<Master> memory)
      : backend_(backend),
        memory_(memory),
        arena_(static_cast<std::size_t>(C.plan.arena * detail::required_batch(max_batch))),
        persistent_(static_cast<std::size_t>(C.plan.persistent)),
        staging_(static_cast<std::size_t>(C.plan.staging * max_batch)),
        master_arena_(static_cast<std::size_t>(master_plan.size * max_batch)),
        calls_(static_cast<std::size_t>(C.graph.nodes.size())) {
    bind(max_batch);
    std::size_t bytes = 0;
    for (int i = 0; i < C.graph.nodes.size(); ++i)
      if (detail::runs(C.graph.nodes[i].op)) bytes = std::max(bytes, scratch_bytes(i));
    scratch_ = Buffer<std::byte>(bytes);
    bind(max_batch);
  }

  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  /// Points every call at its memory for `batch` samples, at most the batch of construction.
  void bind(int batch) {
    batch_ = batch;
    for (int i = 0; i < C.graph.nodes.size(); ++i) {
      const Node& n = C.graph.nodes[i];
      auto& call = calls_[static_cast<std::size_t>(i)];
      call.node = &n;
      call.batch = batch;
      call.output = tensor(i);
      for (std::size_t k = 0; k < max_inputs; ++k)
        call.input[k] = n.input[k] >= 0 ? tensor(n.input[k]) : Tensor<Element>{};
      call.scratch = scratch_.span();
    }
  }

  int batch() const { return batch_; }

  /// Evaluates what depends on parameters alone; call it when they changed.
  void run_once() { run_nodes(true); }
  /// Evaluates everything else, in order.
  void run(Seed seed = {}, std::uint64_t step = 0) {
    for (auto& call : calls_) {
      call.seed = seed;
      call.step = step;
    }
    run_nodes(false);
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
        base = element(staging_.data(), offset * batch);
        break;
      case Storage::parameter:
        base = element(memory_.parameters, offset);
        break;
      case Storage::state:
        base = element(memory_.state, offset);
        break;
      case Storage::gradient:
        base = element(memory_.gradients, offset);
        break;
      case Storage::persistent:
        base = element(persistent_.data(), offset);
        break;
      case Storage::arena:
        base = arena_.data() + offset * batch;
        if constexpr (mixed)
          if (!is_activation(C.graph, id))
            base = element(master_arena_.data(), static_cast<std::ptrdiff_t>(master_plan.offset[id]) * batch);
        break;
    }
    const std::ptrdiff_t stride = p.pixel_stride;
    return {base == nullptr ? nullptr : base + p.channel_offset, n.shape, n.per_sample ? batch_ : 1, stride,
            static_cast<std::ptrdiff_t>(n.shape.pixels()) * stride};
  }

  /// The memory of a value that the network publishes, by its path. Throws ArgumentError with the paths there are.
  Tensor<Element> published(std::string_view path) const {
    std::string known;
    for (const Published& p : C.graph.published) {
      const std::string name = path_of(C.graph, p);
      if (name == path) return tensor(p.node);
      known += (known.empty() ? "" : ", ") + name;
    }
    throw ArgumentError("this network publishes no '" + std::string(path) + "'; it publishes " +
                        (known.empty() ? "nothing" : known));
  }

  /// Bytes held: arena, staging, persistent values and scratch.
  std::size_t bytes() const {
    return arena_.size() * sizeof(Element) +
           (persistent_.size() + staging_.size() + master_arena_.size()) * sizeof(Master) + scratch_.size();
  }

 private:
  static constexpr auto kernels = detail::kernel_table<C, B>();
  static constexpr bool mixed = !std::is_same_v<Element, Master>;
  static constexpr auto master_plan = [] {
    if constexpr (mixed)
      return plan_master<C>();
    else
      return MasterPlan<1>{};
  }();

  /// Tensors of one type list operands of both: see held_as().
  static Element* element(Master* memory, std::ptrdiff_t offset) {
    return memory == nullptr ? nullptr : reinterpret_cast<Element*>(memory + offset);
  }

  std::size_t scratch_bytes(int i) const {
    const auto& call = calls_[static_cast<std::size_t>(i)];
    return detail::with_used_op<C>(C.graph.nodes[i].op, [&]<Op op>() -> std::size_t {
      return B::template scratch_bytes<op>(call, backend_.threads());
    });
  }

  void run_nodes(bool once) {
    backend_.run([&] {
      for (int i = 0; i < C.graph.nodes.size(); ++i)
        if (detail::runs(C.graph.nodes[i].op) && C.graph.nodes[i].once == once)
          kernels[static_cast<std::size_t>(i)](calls_[static_cast<std::size_t>(i)]);
    });
  }

  B& backend_;
  ExternalMemory<Master> memory_;
  int batch_ = 0;
  Buffer<Element> arena_;
  Buffer<Master> persistent_;
  Buffer<Master> staging_;
  Buffer<Master> master_arena_;
  Buffer<std::byte> scratch_;
  std::vector<Call<Element>> calls_;
};

}  // namespace ulna
