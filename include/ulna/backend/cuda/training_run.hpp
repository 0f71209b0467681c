// SPDX-License-Identifier: MIT
// Training on devices: a whole step, from the images to the updated parameters, is one recording that is replayed.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "ulna/backend/cuda/device_graph.hpp"
#include "ulna/backend/cuda/machine.hpp"
#include "ulna/backend/cuda/update.hpp"
#include "ulna/train/training_run.hpp"

namespace ulna {

/// A training graph, `Training::compiled`, on a device. Parameters, running statistics and the optimizer's memory live
/// there; the model fetches its own copy when somebody reads it, and what is written to the model is copied to the
/// device before the next step.
template <class Training, class T, class A, class Platform, class ModelType, class Optimizer>
class TrainingRun<Training, cuda::BasicDevice<T, A, Platform>, ModelType, Optimizer> {
 public:
  static constexpr const auto& C = Training::compiled;
  using B = cuda::BasicDevice<T, A, Platform>;
  using Element = T;
  using Master = typename B::Master;

  TrainingRun(B& backend, ModelType& model, const Optimizer& optimizer, int max_batch, double clip_norm)
      : backend_(backend),
        platform_(backend.platform()),
        model_(model),
        optimizer_(optimizer),
        clip_norm_(clip_norm),
        parameters_(first_of(backend, max_batch).template memory<Master>(count)),
        state_(platform_.template memory<Master>(state_count)),
        gradients_(platform_.template memory<Master>(count)),
        slots_{platform_.template memory<Master>(count),
               platform_.template memory<Master>(Optimizer::slots > 1 ? count : 0)},
        partial_(platform_.template memory<double>(partials)),
        control_(platform_.template memory<Control>(1)),
        result_(platform_.template memory<cuda::StepResult>(1)),
        graph_(backend, max_batch, {parameters_.data(), state_.data(), gradients_.data()}),
        staged_control_(platform_.template staging<Control>(1)),
        staged_result_(platform_.template staging<cuda::StepResult>(1)),
        steps_(static_cast<std::size_t>(max_batch) + 1),
        evaluations_(static_cast<std::size_t>(max_batch) + 1),
        fetched_(static_cast<std::size_t>(C.graph.nodes.size())) {
    model_.set_source([this](std::span<Master> parameters, std::span<Master> state) {
      platform_.copy(parameters.data(), parameters_.data(), parameters.size_bytes());
      platform_.copy(state.data(), state_.data(), state.size_bytes());
      platform_.wait();
    });
  }

  TrainingRun(const TrainingRun&) = delete;
  TrainingRun& operator=(const TrainingRun&) = delete;
  /// The model keeps the newest numbers.
  ~TrainingRun() { model_.set_source({}); }

  void bind(int batch) {
    if (graph_.batch() != batch) graph_.bind(batch);
  }

  /// Where images, labels and weights are copied to; any other node's output is fetched from the device.
  Tensor<Element> tensor(int id) const {
    if (C.plan.places[id].storage == Storage::staging) return graph_.staged(id);
    auto& to = fetched_[static_cast<std::size_t>(id)];
    if (to.size() < graph_.dense_bytes(id, graph_.batch()))
      to = Buffer<std::byte>(graph_.dense_bytes(id, graph_.batch()));
    const Tensor<Element> t = graph_.download(id, to.data());
    platform_.wait();
    return t;
  }

  double evaluate(Seed seed, std::int64_t step) {
    prepare();
    staged_control_.data()->run = {seed.value, static_cast<std::uint64_t>(step)};
    replay(evaluations_, [this] { enqueue_gradients(); });
    return static_cast<double>(staged_result_.data()->loss);
  }

  StepOutcome step(Seed seed, std::int64_t steps, double rate) {
    prepare();
    *staged_control_.data() = {{seed.value, static_cast<std::uint64_t>(steps)},
                               optimizer_.template at<Master>(rate, steps + 1)};
    replay(steps_, [this] {
      enqueue_gradients();
      enqueue_update();
    });
    const cuda::StepResult& result = *staged_result_.data();
    return {static_cast<double>(result.loss), clip_norm_ > 0.0 ? result.gradient_norm : 0.0};
  }

  /// Where the time of evaluate() goes. Running statistics stay as they are.
  Profile profile(Seed seed, std::int64_t step, const ProfileOptions& options) {
    detail::ProfileTimes times(C.graph.nodes.size(), options);
    prepare();
    staged_control_.data()->run = {seed.value, static_cast<std::uint64_t>(step)};
    std::vector<Master> state(state_count);
    platform_.run([&] {
      platform_.copy(state.data(), state_.data(), state_count * sizeof(Master));
      platform_.copy(control_.data(), staged_control_.data(), sizeof(Control));
      graph_.upload_staged();
    });
    graph_.measure(times, &control_.data()->run);
    platform_.run([&] { platform_.copy(state_.data(), state.data(), state_count * sizeof(Master)); });
    platform_.wait();
    revision_ = model_.revision();  // prepare() has brought it there
    return detail::profile_of<Training, B>(times, graph_.batch(),
                                           options.machine ? *options.machine : measure_machine(backend_));
  }

  std::span<const Master> gradients() const {
    fetched_gradients_.resize(count);
    return fetch(gradients_, fetched_gradients_);
  }

  /// The host's copy. What is written to it is copied to the device before the next step.
  std::span<Master> optimizer_slot(int i) {
    auto& host = host_slots_[static_cast<std::size_t>(i)];
    if (!slots_shown_) {
      for (std::size_t k = 0; k < 2; ++k) {
        host_slots_[k].resize(slots_[k].size());
        fetch(slots_[k], host_slots_[k]);
      }
      slots_shown_ = true;
    }
    return host;
  }

  /// Bytes held on the device, its parameters included.
  std::size_t bytes() const { return graph_.bytes() + static_cast<std::size_t>(own_bytes()); }

 private:
  using Step = decltype(std::declval<const Optimizer&>().template at<Master>(0.0, std::int64_t{1}));
  /// What the host tells a step.
  struct Control {
    cuda::RunState run;
    Step step;
  };

  static constexpr auto count = static_cast<std::size_t>(C.graph.parameter_count);
  static constexpr auto state_count = static_cast<std::size_t>(C.graph.state_count);
  static constexpr cuda::ReductionShape norm_shape = cuda::ReductionShape::of(1, C.graph.parameter_count, 1);
  static constexpr auto partials = static_cast<std::size_t>(norm_shape.partials(1));

  static constexpr std::int64_t own_bytes() {
    return static_cast<std::int64_t>(((2 + Optimizer::slots) * count + state_count) * sizeof(Master) +
                                     partials * sizeof(double) + sizeof(Control) + sizeof(cuda::StepResult));
  }

  /// The platform, once it is known that everything fits.
  static const Platform& first_of(const B& backend, int max_batch) {
    cuda::DeviceGraph<Training, B>::require_memory(backend, detail::required_batch(max_batch), own_bytes());
    return backend.platform();
  }

  std::span<Master> fetch(const auto& from, std::vector<Master>& to) const {
    platform_.copy(to.data(), from.data(), to.size() * sizeof(Master));
    platform_.wait();
    return to;
  }

  /// Brings to the device what the host has changed.
  void prepare() {
    if (revision_ != model_.revision()) {
      platform_.copy(parameters_.data(), model_.parameters().data(), count * sizeof(Master));
      platform_.copy(state_.data(), model_.state().data(), state_count * sizeof(Master));
    }
    if (slots_shown_)
      for (std::size_t k = 0; k < 2; ++k)
        platform_.copy(slots_[k].data(), host_slots_[k].data(), host_slots_[k].size() * sizeof(Master));
    if (revision_ != model_.revision() || slots_shown_) platform_.wait();
    slots_shown_ = false;
  }

  void replay(std::vector<typename Platform::Recording>& recordings, auto enqueue) {
    auto& recording = recordings[static_cast<std::size_t>(graph_.batch())];
    if (!recording)
      recording = platform_.record([this, enqueue] {
        platform_.copy(control_.data(), staged_control_.data(), sizeof(Control));
        graph_.upload_staged();
        enqueue();
        platform_.copy(staged_result_.data(), result_.data(), sizeof(cuda::StepResult));
      });
    platform_.replay(recording);
    platform_.wait();
    model_.outdate();
    revision_ = model_.revision();
  }

  void enqueue_gradients() const {
    graph_.enqueue(false, &control_.data()->run);
    const float* const loss = held_as<float>(graph_.tensor(C.graph.loss)).data;
    platform_.execution(nullptr).each("report_loss", 1, cuda::bodies::ReportLoss{loss, result_.data()});
  }

  void enqueue_update() const {
    const auto on = platform_.execution(nullptr);
    if (clip_norm_ > 0.0)
      cuda::reduce(on, "gradient_norm", norm_shape, partial_.data(),
                   cuda::bodies::GradientNorm{gradients_.data(), result_.data(), clip_norm_});
    on.each("update", C.graph.parameter_count,
            cuda::bodies::Update<Step>{&control_.data()->step,
                                       result_.data(),
                                       parameters_.data(),
                                       gradients_.data(),
                                       {slots_[0].data(), slots_[1].data()}});
  }

  template <class U>
  using Memory = typename Platform::template Memory<U>;
  template <class U>
  using Staging = typename Platform::template Staging<U>;

  const B& backend_;
  const Platform& platform_;
  ModelType& model_;
  Optimizer optimizer_;
  double clip_norm_;
  Memory<Master> parameters_;
  Memory<Master> state_;
  Memory<Master> gradients_;
  std::array<Memory<Master>, 2> slots_;
  Memory<double> partial_;
  Memory<Control> control_;
  Memory<cuda::StepResult> result_;
  cuda::DeviceGraph<Training, B> graph_;
  Staging<Control> staged_control_;
  Staging<cuda::StepResult> staged_result_;
  std::vector<typename Platform::Recording> steps_;        ///< by batch
  std::vector<typename Platform::Recording> evaluations_;  ///< by batch
  std::uint64_t revision_ = 0;                             ///< of the model, when the device had its numbers
  std::array<std::vector<Master>, 2> host_slots_;
  bool slots_shown_ = false;  ///< the caller may have changed host_slots_
  mutable std::vector<Master> fetched_gradients_;
  mutable std::vector<Buffer<std::byte>> fetched_;  ///< by node
};

}  // namespace ulna
