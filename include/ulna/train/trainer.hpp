// SPDX-License-Identifier: MIT
// Training: one step is copy in, run the training graph, clip, update. Nothing is allocated after construction.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "ulna/runtime/model.hpp"
#include "ulna/runtime/view.hpp"
#include "ulna/train/loss.hpp"
#include "ulna/train/optimizer.hpp"
#include "ulna/train/schedule.hpp"
#include "ulna/train/training_run.hpp"

namespace ulna {

/// Said when the labels declared for training are not those the network's output needs.
template <class P, class Loss>
struct LabelsFor {
  using option = labels_question;
  static constexpr int classes = Loss::classes_of(P::classes);
  static constexpr Shape shape{1, P::output_shape.depth, P::output_shape.height, P::output_shape.width};
};

namespace detail {

/// Compares declared labels with the network's output.
template <class P, class Loss, class L>
constexpr Diagnostic diagnose_labels() {
  Diagnostic d;
  if (P::diagnostic) return d;
  using Needed = LabelsFor<P, Loss>;
  const auto say = [&](RuleKind rule, int found, int required, const char* what) {
    if (d) return;
    d.rule = rule;
    d.found = found;
    d.required = required;
    d.sentence << network_name<typename P::Network>() << "/loss: the labels have " << what << " " << found
               << ", the output has " << required << "; declare Labels<" << Needed::classes << ", "
               << Needed::shape.height << ", " << Needed::shape.width << ">";
  };
  if (L::shape.height != Needed::shape.height)
    say(RuleKind::extents_must_match, L::shape.height, Needed::shape.height, "height");
  if (L::shape.width != Needed::shape.width)
    say(RuleKind::extents_must_match, L::shape.width, Needed::shape.width, "width");
  if (L::classes != Needed::classes) say(RuleKind::channels_must_match, L::classes, Needed::classes, "class count");
  return d;
}

}  // namespace detail

/// How a Trainer trains.
struct TrainerOptions {
  int batch = 8;  ///< the largest batch that step() will be given
  Schedule schedule = schedule::constant();
  double clip_norm = 0.0;              ///< gradients are scaled so that their norm is at most this; 0: not
  Seed seed{};                         ///< of dropout
  std::vector<float> class_weights{};  ///< multiply the pixel weights by class; needs a weighted loss
};

/// What a step reports.
struct StepReport {
  std::int64_t step = 0;  ///< steps done, this one included
  double loss = 0.0;      ///< before the update
  double learning_rate = 0.0;
  double gradient_norm = 0.0;  ///< before clipping; 0 when clipping is off
};

/// Trains the model of program P under a loss, on a backend. Options: Labels, which the caller has (by default the
/// right ones), and Recompute, which trades time for memory.
template <class P, class Loss, Backend B, class Optimizer = Adam, Option... Options>
class Trainer {
 public:
  static_assert(answers<labels_question, Options...> + answers<recompute_question, Options...> ==
                    static_cast<int>(sizeof...(Options)),
                "Trainer: the options are Labels and Recompute");
  using L = pick<labels_question, LabelsFor<P, Loss>, Options...>;
  using Element = typename B::Element;  ///< of activations
  using Master = MasterOf<B>;           ///< of parameters, their gradients and the optimizer's memory
  using ModelType = Model<P, Master>;

  static constexpr Diagnostic labels_diagnostic = detail::diagnose_labels<P, Loss, L>();
  static_assert(enforce<labels_diagnostic>());

  Trainer(ModelType& model, Optimizer optimizer = {}, TrainerOptions options = {}, B backend = {})
      : model_(model),
        optimizer_(optimizer),
        options_(std::move(options)),
        backend_(std::move(backend)),
        run_(backend_, model, optimizer, options_.batch, options_.clip_norm) {
    check_options();
  }

  /// One update from a batch: images (batch, height, width, channels), labels (batch, height, width), and for weighted
  /// losses one weight a pixel (all 1 when left out). Throws DataError for wrong sizes, non-finite pixels, unknown
  /// classes.
  StepReport step(const ImagesView& images, const LabelsView& labels, const ImagesView& weights = {}) {
    load(images, labels, weights);
    StepReport report{.learning_rate = optimizer_.learning_rate * options_.schedule(step_)};
    const StepOutcome outcome = run_.step(options_.seed, step_, report.learning_rate);
    if (!std::isfinite(outcome.loss))
      throw DataError("training diverged at step " + std::to_string(step_ + 1) + ": the loss is " +
                      std::to_string(outcome.loss) + "; use a smaller learning rate or clip gradients");
    report.loss = outcome.loss;
    report.gradient_norm = outcome.gradient_norm;
    report.step = ++step_;
    return report;
  }

  /// The loss of a batch in training mode, with all gradients, without an update. Running statistics do move.
  double evaluate_gradients(const ImagesView& images, const LabelsView& labels, const ImagesView& weights = {}) {
    load(images, labels, weights);
    return run_.evaluate(options_.seed, step_);
  }

  /// What forward and backward of a batch cost, and where their time goes, node by node; the update is not among them.
  /// Parameters and running statistics stay as they are, gradients() are the batch's. Costs nothing unless it is
  /// called.
  Profile profile(const ImagesView& images, const LabelsView& labels, const ImagesView& weights = {},
                  const ProfileOptions& options = {}) {
    load(images, labels, weights);
    return run_.profile(options_.seed, step_, options);
  }

  /// d loss / d parameters after a step, in the order of Model::parameters().
  std::span<const Master> gradients() const { return run_.gradients(); }
  /// Logits of the last step's batch.
  Tensor<Element> logits() const { return run_.tensor(compiled.graph.output); }

  ModelType& model() { return model_; }
  std::int64_t steps() const { return step_; }
  std::size_t bytes() const { return run_.bytes(); }

  /// For checkpoints: the optimizer's memory and the step count.
  std::span<Master> optimizer_slot(int i) { return run_.optimizer_slot(i); }
  void resume_at(std::int64_t step) { step_ = step; }
  static constexpr int slot_count = Optimizer::slots;
  static constexpr const char* optimizer_name = Optimizer::name;

  /// The training plan, for those who look inside.
  using Training = std::conditional_t<answers<recompute_question, Options...> == 0, TrainingProgram<P, Loss>,
                                      TrainingProgram<P, Loss, pick<recompute_question, Recompute<>, Options...>>>;
  static constexpr const auto& compiled = Training::compiled;

 private:
  void check_options() {
    if (options_.class_weights.empty()) return;
    if (!Loss::pixel_weights)
      throw ArgumentError("Trainer: class_weights need a weighted loss such as WeightedCrossEntropy");
    if (static_cast<int>(options_.class_weights.size()) != L::classes)
      throw ArgumentError("Trainer: found " + std::to_string(options_.class_weights.size()) + " class weights for " +
                          std::to_string(L::classes) + " classes");
    for (std::size_t i = 0; i < options_.class_weights.size(); ++i)
      if (const float w = options_.class_weights[i]; !(w >= 0.0f && std::isfinite(w)))
        throw ArgumentError("Trainer: class weight " + std::to_string(i) + " is " + std::to_string(w) +
                            ", must be finite and not negative");
  }

  void load(const ImagesView& images, const LabelsView& labels, const ImagesView& weights) {
    detail::require_shape(images, P::input_shape, options_.batch, "images");
    detail::require_shape(labels, L::shape, options_.batch, "labels");
    if (images.batch != labels.batch)
      throw DataError("batch: found " + std::to_string(images.batch) + " images and " + std::to_string(labels.batch) +
                      " label maps");
    run_.bind(images.batch);
    detail::stage_finite(images, run_.tensor(compiled.graph.image), "images");
    detail::stage_labels(labels, master(compiled.graph.labels), L::classes);
    if constexpr (Loss::pixel_weights) load_weights(labels, weights);
  }

  void load_weights(const LabelsView& labels, const ImagesView& weights) {
    const Tensor<Master> to = master(compiled.graph.pixel_weights);
    const std::size_t n = labels.size();
    if (weights.data != nullptr) {
      detail::require_shape(weights, L::shape, options_.batch, "pixel weights");
      if (weights.batch != labels.batch)
        throw DataError("batch: found " + std::to_string(labels.batch) + " images and " +
                        std::to_string(weights.batch) + " weight maps");
      detail::stage_weights(weights, to);
    } else {
      for (std::size_t i = 0; i < n; ++i) to.data[i] = Master{1};
    }
    if (!options_.class_weights.empty())
      for (std::size_t i = 0; i < n; ++i) to.data[i] *= static_cast<Master>(options_.class_weights[labels.data[i]]);
  }

  Tensor<Master> master(int id) const { return held_as<Master>(run_.tensor(id)); }

  ModelType& model_;
  Optimizer optimizer_;
  TrainerOptions options_;
  B backend_;
  std::int64_t step_ = 0;
  TrainingRun<Training, B, ModelType, Optimizer> run_;
};

}  // namespace ulna
