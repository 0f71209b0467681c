// SPDX-License-Identifier: MIT
// Executors of graphs on devices: a run is recorded once for each batch and then replayed.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "ulna/backend/cuda/device_graph.hpp"
#include "ulna/backend/cuda/machine.hpp"
#include "ulna/runtime/executor.hpp"
#include "ulna/runtime/profile.hpp"

namespace ulna {

/// The planned graph `Planned::compiled` on a device, for up to `max_batch` samples. `memory` is the host's: parameters
/// and state are copied to the device by run_once(). All tensors given out are the host's: those of images are read
/// when a run begins; the output's are filled when it ends; others are fetched by asking.
template <class Planned, class T, class A, class Platform>
class Executor<Planned, cuda::BasicDevice<T, A, Platform>> {
 public:
  static constexpr const auto& C = Planned::compiled;
  using B = cuda::BasicDevice<T, A, Platform>;
  using Element = T;
  using Master = typename B::Master;
  static_assert(C.graph.loss < 0, "cuda::Device: training graphs are run by Trainer");

  Executor(B& backend, int max_batch, ExternalMemory<Master> memory)
      : platform_(backend.platform()),
        host_(memory),
        parameters_(first_of(backend, max_batch).template memory<Master>(parameter_count)),
        state_(platform_.template memory<Master>(state_count)),
        run_(platform_.template memory<cuda::RunState>(1)),
        graph_(backend, max_batch, {parameters_.data(), state_.data(), nullptr}),
        output_(platform_.template staging<std::byte>(graph_.dense_bytes(C.graph.output, max_batch))),
        recordings_(static_cast<std::size_t>(max_batch) + 1),
        fetched_(static_cast<std::size_t>(C.graph.nodes.size())) {}

  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  /// Points every call at its memory for `batch` samples, at most the batch of construction.
  void bind(int batch) { graph_.bind(batch); }
  int batch() const { return graph_.batch(); }

  /// Copies parameters and state to the device and evaluates what depends on them alone; call it when they changed.
  void run_once() {
    platform_.copy(parameters_.data(), host_.parameters, parameter_count * sizeof(Master));
    platform_.copy(state_.data(), host_.state, state_count * sizeof(Master));
    // recorded, since only recording and replaying make the device the current one; rarely, so that nothing is kept
    const auto once = platform_.record([this] { graph_.enqueue(true, run_.data()); });
    platform_.replay(once);
    platform_.wait();
  }

  /// Evaluates everything else and waits for the output.
  void run() {
    auto& recording = recordings_[static_cast<std::size_t>(batch())];
    if (!recording)
      recording = platform_.record([this] {
        graph_.upload_staged();
        graph_.enqueue(false, run_.data());
        graph_.download(C.graph.output, output_.data());
      });
    platform_.replay(recording);
    platform_.wait();
  }

  /// Where the time of run() goes. What is staged is what runs. Throws ArgumentError unless options.runs is positive.
  Profile profile(const B& backend, const ProfileOptions& options) {
    detail::ProfileTimes times(C.graph.nodes.size(), options);
    platform_.run([this] { graph_.upload_staged(); });
    graph_.measure(times, run_.data());
    return detail::profile_of<Planned, B>(times, batch(),
                                          options.machine ? *options.machine : measure_machine(backend));
  }

  Tensor<Element> tensor(int id) const {
    if (C.plan.places[id].storage == Storage::staging) return graph_.staged(id);
    if (id == C.graph.output) {
      const Shape s = C.graph.nodes[id].shape;
      return {reinterpret_cast<Element*>(output_.data()), s, batch(), s.channels,
              static_cast<std::ptrdiff_t>(s.size())};
    }
    auto& to = fetched_[static_cast<std::size_t>(id)];
    if (to.size() < graph_.dense_bytes(id, batch())) to = Buffer<std::byte>(graph_.dense_bytes(id, batch()));
    const Tensor<Element> t = graph_.download(id, to.data());
    platform_.wait();
    return t;
  }

  /// A value that the network publishes, by its path. Throws ArgumentError with the paths there are.
  Tensor<Element> published(std::string_view path) const { return tensor(Binding<Planned, B>::published(path)); }

  /// Bytes held on the device, the parameters' copy included.
  std::size_t bytes() const { return graph_.bytes() + (parameter_count + state_count) * sizeof(Master); }

 private:
  static constexpr auto parameter_count = static_cast<std::size_t>(C.graph.parameter_count);
  static constexpr auto state_count = static_cast<std::size_t>(C.graph.state_count);

  /// The platform, once it is known that everything fits.
  static const Platform& first_of(const B& backend, int max_batch) {
    cuda::DeviceGraph<Planned, B>::require_memory(
        backend, detail::required_batch(max_batch),
        static_cast<std::int64_t>((parameter_count + state_count) * sizeof(Master)));
    return backend.platform();
  }

  const Platform& platform_;
  ExternalMemory<Master> host_;
  typename Platform::template Memory<Master> parameters_;
  typename Platform::template Memory<Master> state_;
  typename Platform::template Memory<cuda::RunState> run_;
  cuda::DeviceGraph<Planned, B> graph_;
  typename Platform::template Staging<std::byte> output_;
  std::vector<typename Platform::Recording> recordings_;  ///< by batch
  mutable std::vector<Buffer<std::byte>> fetched_;        ///< by node
};

}  // namespace ulna
