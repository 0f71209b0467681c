// SPDX-License-Identifier: MIT
// A planned graph in the memory of a device: one arena, staging on the host, and its nodes enqueued in order.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "ulna/backend/cuda/device.hpp"
#include "ulna/backend/cuda/error.hpp"
#include "ulna/backend/cuda/packed_weights.hpp"
#include "ulna/runtime/binding.hpp"
#include "ulna/runtime/profile.hpp"

namespace ulna::cuda {

/// The planned graph `Planned::compiled` on device backend `B`, for up to `max_batch` samples.
template <class Planned, class B>
class DeviceGraph {
 public:
  static constexpr const auto& C = Planned::compiled;
  using Element = typename B::Element;
  using Master = typename B::Master;
  using Platform = typename B::PlatformType;
  using Bound = Binding<Planned, B>;

  /// Throws Error unless the device has room for this graph and `further_bytes`.
  static void require_memory(const B& backend, int max_batch, std::int64_t further_bytes) {
    detail::require_memory(
        [&](int batch) { return static_cast<std::int64_t>(Parts(backend.platform(), batch).bytes) + further_bytes; },
        max_batch, backend.platform().free_bytes(), backend.platform().name());
  }

  /// `external`: memory of the device.
  DeviceGraph(const B& backend, int max_batch, const ExternalMemory<Master>& external)
      : platform_(backend.platform()),
        parts_(platform_, max_batch),
        memory_(platform_.template memory<std::byte>(parts_.bytes)),
        staging_(platform_.template staging<Master>(Bound::staging_size(max_batch))) {
    std::byte* const base = memory_.data();
    binding_.bind(
        {external, reinterpret_cast<Element*>(base + parts_.arena), reinterpret_cast<Master*>(base + parts_.persistent),
         reinterpret_cast<Master*>(base + parts_.staging), reinterpret_cast<Master*>(base + parts_.master_arena),
         std::span<std::byte>{base + parts_.scratch, parts_.bytes - parts_.scratch}},
        max_batch);
  }

  void bind(int batch) { binding_.bind(binding_.memory(), batch); }
  int batch() const { return binding_.batch(); }

  /// Where the host puts images, labels and pixel weights.
  Tensor<Element> staged(int id) const {
    Tensor<Element> t = binding_.tensor(id);
    const auto offset = static_cast<std::ptrdiff_t>(C.plan.places[id].offset) * batch();
    t.data = reinterpret_cast<Element*>(staging_.data() + offset) + C.plan.places[id].channel_offset;
    return t;
  }
  /// Enqueues the copy of what is staged to the device.
  void upload_staged() const {
    platform_.copy(binding_.memory().staging, staging_.data(), Bound::staging_size(batch()) * sizeof(Master));
  }

  /// Enqueues the nodes that are evaluated when parameters change, and the packing of weights; or all other nodes.
  /// `run`: in memory of the device.
  void enqueue(bool once, const RunState* run) const {
    enqueue_each(once, run, [](const Call<Element>&) {});
    if (!once) return;
    const auto on = platform_.execution(run);
    std::byte* const packed = memory_.data() + parts_.packed;
    binding_.for_each_node(false, [&](auto, const Call<Element>& call) {
      if (parts_.weights.packs(call)) named(call, [&] { B::pack_weight(on, call, parts_.weights.of(call, packed)); });
    });
  }

  /// Measures what enqueue(false, run) enqueues, node by node. A node's time is from the end of the one before to its
  /// own. The first run is not measured: it waits for each node, so that a kernel that fails on the device, which a
  /// replay only knows of at its end, is named.
  void measure(ulna::detail::ProfileTimes& times, const RunState* run) const {
    std::vector<int> nodes;
    platform_.run([&] {
      enqueue_each(false, run, [&](const Call<Element>& call) {
        platform_.wait();
        nodes.push_back(static_cast<int>(call.node - C.graph.nodes.begin()));
      });
    });
    std::vector<typename Platform::Mark> marks(nodes.size() + 1);
    for (std::size_t r = 0; r < times.runs(); ++r) {
      platform_.run([&] {
        platform_.delay(static_cast<double>(marks.size()) * enqueue_seconds);
        platform_.mark(marks[0]);
        enqueue_each(false, run, [&, i = std::size_t{0}](const Call<Element>&) mutable { platform_.mark(marks[++i]); });
      });
      platform_.wait();
      for (std::size_t i = 0; i < nodes.size(); ++i)
        times.of_node(nodes[i])[r] = platform_.seconds(marks[i], marks[i + 1]);
      times.of_runs()[r] = platform_.seconds(marks.front(), marks.back());
    }
  }

  /// A node's output in memory of the device.
  Tensor<Element> tensor(int id) const { return binding_.tensor(id); }

  /// Bytes of a node's output, dense.
  std::size_t dense_bytes(int id, int batch) const {
    const Node& n = C.graph.nodes[id];
    return static_cast<std::size_t>(n.shape.size() * (n.per_sample ? batch : 1)) * element_bytes(id);
  }
  /// Enqueues the copy of a node's output to `to`, where it is dense. Returns what will be there.
  Tensor<Element> download(int id, std::byte* to) const {
    Tensor<Element> t = binding_.tensor(id);
    const std::size_t row = static_cast<std::size_t>(t.shape.channels) * element_bytes(id);
    if (t.pixel_stride == t.shape.channels)
      platform_.copy(to, t.data, dense_bytes(id, t.batch));
    else
      platform_.copy_rows(to, t.data, row, static_cast<std::size_t>(t.batch * t.pixels()),
                          static_cast<std::size_t>(t.pixel_stride) * element_bytes(id));
    return {reinterpret_cast<Element*>(to), t.shape, t.batch, t.shape.channels, t.pixels() * t.shape.channels};
  }

  /// Bytes held on the device.
  std::size_t bytes() const { return parts_.bytes; }

  /// The most scratch that a batch of up to `batch` samples takes: where pixels are few, sums are split, so a smaller
  /// batch may take more.
  static std::size_t scratch_bytes(int batch) {
    Bound bound;
    std::size_t most = 0;
    for (; batch > 0; batch = batch > 256 ? batch / 2 : batch - 1) most = std::max(most, bound.scratch_bytes(batch, 1));
    return most;
  }

 private:
  /// Where the parts of the one allocation begin.
  struct Parts {
    Parts(const Platform& platform, int batch) : weights(platform.execution(nullptr)) {
      arena = take(Bound::arena_size(batch) * sizeof(Element));
      persistent = take(Bound::persistent_size * sizeof(Master));
      staging = take(Bound::staging_size(batch) * sizeof(Master));
      master_arena = take(Bound::master_arena_size(batch) * sizeof(Master));
      packed = take(weights.bytes());
      scratch = take(scratch_bytes(std::min(batch, countable_batch)));
    }
    PackedWeights<Planned, B> weights;
    std::size_t arena, persistent, staging, master_arena, packed, scratch;
    std::size_t bytes = 0;

   private:
    std::size_t take(std::size_t count) {
      const std::size_t at = bytes;
      bytes += (count + 255) / 256 * 256;
      return at;
    }
  };

  /// More than the host takes to enqueue a node: so long the device waits before a run that is measured, so that it
  /// never waits for the host.
  static constexpr double enqueue_seconds = 20e-6;

  /// `then(call)` follows each node.
  void enqueue_each(bool once, const RunState* run, auto then) const {
    auto on = platform_.execution(run);
    std::byte* const packed = memory_.data() + parts_.packed;
    binding_.for_each_node(once, [&](auto kernel, const Call<Element>& call) {
      on.packed = parts_.weights.of(call, packed);
      named(call, [&] {
        kernel(on, call);
        then(call);
      });
    });
  }

  /// Does a node's work; what it throws names the node.
  static void named(const Call<Element>& call, const auto& work) {
    try {
      work();
    } catch (const Error& e) {
      throw Error(path_of(C.graph, call.node->scope) + ", " + name_of(call.node->op) + ": " + e.what());
    }
  }

  /// Kernels count a batch's pixels, and those of the tiles around them, in int. Larger batches never fit, but what
  /// they need is said.
  static constexpr int countable_batch = [] {
    std::int64_t most = 1;
    for (const Node& n : C.graph.nodes) most = std::max(most, std::int64_t{n.shape.pixels()});
    return static_cast<int>(std::max<std::int64_t>(std::numeric_limits<int>::max() / 4 / most, 1));
  }();

  static constexpr std::size_t element_bytes(int id) {
    return is_activation(C.graph, id) ? sizeof(Element) : sizeof(Master);
  }

  const Platform& platform_;
  Parts parts_;
  typename Platform::template Memory<std::byte> memory_;
  typename Platform::template Staging<Master> staging_;
  Bound binding_;
};

}  // namespace ulna::cuda
