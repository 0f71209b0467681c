// SPDX-License-Identifier: MIT
// Runs a planned graph over one arena. Nothing is allocated after construction.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "ulna/runtime/binding.hpp"
#include "ulna/runtime/buffer.hpp"

namespace ulna {

namespace detail {

/// The largest batch that an executor is made for, or ArgumentError.
inline int required_batch(int batch) {
  if (batch < 1) throw ArgumentError("batch is " + std::to_string(batch) + ", must be at least 1");
  return batch;
}

}  // namespace detail

/// The graph and plan of `Planned::compiled` on CPU backend `B` for up to `max_batch` samples. A backend with memory of
/// its own specialises this (backend/cuda/executor.hpp).
template <class Planned, Backend B>
class Executor {
 public:
  using Element = typename B::Element;
  using Master = MasterOf<B>;

  Executor(B& backend, int max_batch, ExternalMemory<Master> memory)
      : backend_(backend),
        arena_(binding_.share_arena(detail::required_batch(max_batch), backend.threads())),
        persistent_(Bound::persistent_size),
        staging_(Bound::staging_size(max_batch)),
        master_arena_(Bound::master_arena_size(max_batch)) {
    binding_.bind(
        {memory, reinterpret_cast<Element*>(arena_.data()), persistent_.data(), staging_.data(), master_arena_.data()},
        max_batch);
  }

  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  /// Points every call at its memory for `batch` samples, at most the batch of construction.
  void bind(int batch) { binding_.bind(binding_.memory(), batch); }
  int batch() const { return binding_.batch(); }

  /// Evaluates what depends on parameters alone; call it when they changed.
  void run_once() {
    backend_.run([&] { binding_.for_each_node(true, call_kernel); });
  }
  /// Evaluates everything else, in order.
  void run(Seed seed = {}, std::uint64_t step = 0) { run_each(call_kernel, seed, step); }
  /// The same, each node by `run_node(kernel, call)`, which calls the kernel: to measure it (runtime/profile.hpp).
  void run_each(const auto& run_node, Seed seed = {}, std::uint64_t step = 0) {
    binding_.seed(seed, step);
    backend_.run([&] { binding_.for_each_node(false, run_node); });
  }

  /// The memory of a node's output; seen through held_as() when it is no activation.
  Tensor<Element> tensor(int id) const { return binding_.tensor(id); }

  /// The memory of a value that the network publishes, by its path. Throws ArgumentError with the paths there are.
  Tensor<Element> published(std::string_view path) const { return tensor(Bound::published(path)); }

  /// Bytes held: arena with scratch, staging and persistent values.
  std::size_t bytes() const {
    return arena_.size() + (persistent_.size() + staging_.size() + master_arena_.size()) * sizeof(Master);
  }

 private:
  using Bound = Binding<Planned, B>;

  static constexpr auto call_kernel = [](auto kernel, const Call<Element>& call) { kernel(call); };

  B& backend_;
  Bound binding_;
  Buffer<std::byte> arena_;  ///< activations and scratch
  Buffer<Master> persistent_;
  Buffer<Master> staging_;
  Buffer<Master> master_arena_;
};

}  // namespace ulna
