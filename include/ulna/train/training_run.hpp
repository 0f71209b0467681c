// SPDX-License-Identifier: MIT
// What a training step computes: forward, backward, clipping and the update, over memory that is taken once.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "ulna/runtime/executor.hpp"
#include "ulna/runtime/profile.hpp"
#include "ulna/train/optimizer.hpp"

namespace ulna {

/// What a step leaves behind.
struct StepOutcome {
  double loss = 0.0;           ///< before the update; there was none if it is not finite
  double gradient_norm = 0.0;  ///< before clipping; 0 when clipping is off
};

/// A training graph, `Training::compiled`, on CPU backend `B`, updating `ModelType`'s numbers in place. A backend with
/// memory of its own specialises this (backend/cuda/training_run.hpp).
template <class Training, Backend B, class ModelType, class Optimizer>
class TrainingRun {
 public:
  using Element = typename B::Element;
  using Master = MasterOf<B>;

  /// `clip_norm`: gradients are scaled so that their norm is at most this; 0: not.
  TrainingRun(B& backend, ModelType& model, const Optimizer& optimizer, int max_batch, double clip_norm)
      : backend_(backend),
        model_(model),
        optimizer_(optimizer),
        clip_norm_(clip_norm),
        gradients_(model.parameters().size()),
        slots_{Buffer<Master>(model.parameters().size()),
               Buffer<Master>(Optimizer::slots > 1 ? model.parameters().size() : 0)},
        block_norms_((model.parameters().size() + block_size - 1) / block_size),
        executor_(backend_, max_batch,
                  {model.mutable_parameters().data(), model.mutable_state().data(), gradients_.data()}) {}

  /// Points everything at its memory for `batch` samples.
  void bind(int batch) {
    if (executor_.batch() != batch) executor_.bind(batch);
  }
  /// A node's output: the memory that images, labels and weights are copied to, or of the last run.
  Tensor<Element> tensor(int id) const { return executor_.tensor(id); }

  /// Loss and gradients, without an update. Running statistics do move.
  double evaluate(Seed seed, std::int64_t step) {
    (void)model_.mutable_state();  // running statistics move: what predictors derived from them is out of date
    executor_.run(seed, static_cast<std::uint64_t>(step));
    return static_cast<double>(*held_as<Master>(tensor(Training::compiled.graph.loss)).data);
  }

  /// One update after `steps` others, with that learning rate.
  StepOutcome step(Seed seed, std::int64_t steps, double rate) {
    StepOutcome outcome{.loss = evaluate(seed, steps)};
    if (!std::isfinite(outcome.loss)) return outcome;
    double scale = 1.0;
    if (clip_norm_ > 0.0) {
      outcome.gradient_norm = gradient_norm();
      if (outcome.gradient_norm > clip_norm_) scale = clip_norm_ / outcome.gradient_norm;
    }
    update(rate, scale, steps + 1);
    return outcome;
  }

  /// Where the time of evaluate() goes. Running statistics stay as they are.
  Profile profile(Seed seed, std::int64_t step, const ProfileOptions& options) {
    const std::vector<Master> state(model_.state().begin(), model_.state().end());
    Profile result = detail::profile(executor_, backend_, options, seed, static_cast<std::uint64_t>(step));
    std::copy(state.begin(), state.end(), model_.mutable_state().begin());
    return result;
  }

  std::span<const Master> gradients() const { return gradients_.span(); }
  std::span<Master> optimizer_slot(int i) { return slots_[static_cast<std::size_t>(i)].span(); }

  /// Bytes held besides the model's.
  std::size_t bytes() const {
    return executor_.bytes() + (gradients_.size() + slots_[0].size() + slots_[1].size()) * sizeof(Master);
  }

 private:
  static constexpr std::int64_t block_size = 1 << 14;

  std::int64_t count() const { return static_cast<std::int64_t>(gradients_.size()); }

  /// Blocks of fixed size, summed in order: the same bits on any number of threads.
  double gradient_norm() {
    backend_.parallel_for_blocks(count(), block_size, [this](std::int64_t begin, std::int64_t end) {
      double sum = 0.0;
      for (std::int64_t i = begin; i < end; ++i) {
        const auto g = static_cast<double>(gradients_.data()[i]);
        sum += g * g;
      }
      block_norms_.data()[begin / block_size] = sum;
    });
    double sum = 0.0;
    for (const double s : block_norms_.span()) sum += s;
    return std::sqrt(sum);
  }

  void update(double rate, double scale, std::int64_t step) {
    Master* const parameters = model_.mutable_parameters().data();
    backend_.parallel_for_blocks(count(), block_size, [&](std::int64_t begin, std::int64_t end) {
      UpdateBlock<Master> block{
          parameters + begin, gradients_.data() + begin, {slots_[0].data() + begin, nullptr}, end - begin};
      if (Optimizer::slots > 1) block.slot[1] = slots_[1].data() + begin;
      optimizer_.update(block, rate, scale, step);
    });
  }

  B& backend_;
  ModelType& model_;
  Optimizer optimizer_;
  double clip_norm_;
  Buffer<Master> gradients_;
  std::array<Buffer<Master>, 2> slots_;
  Buffer<double> block_norms_;
  Executor<Training, B> executor_;
};

}  // namespace ulna
