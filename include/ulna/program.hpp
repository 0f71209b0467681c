// SPDX-License-Identifier: MIT
// A network bound to an input: shapes checked, memory planned, cost counted, before anything runs.
#pragma once

#include <cstdint>
#include <string>

#include "ulna/graph/diagnostic.hpp"  // first, so that a broken rule is reported close to the user's file
#include "ulna/graph/lower.hpp"
#include "ulna/graph/picture.hpp"
#include "ulna/graph/summary.hpp"
#include "ulna/layer/layer.hpp"
#include "ulna/layer/options.hpp"

namespace ulna {

/// The compile-time extents of an input image. The batch is a run-time number.
template <int Channels, int Height, int Width>
struct Image {
  static_assert(Channels >= 1 && Height >= 1 && Width >= 1, "Image: Channels, Height and Width must be at least 1");
  static constexpr Shape shape{Channels, 1, Height, Width};
};

struct labels_question {};

/// The compile-time extents of a label map with `Count` classes: an option of trainers.
template <int Count, int Height, int Width>
struct Labels {
  using option = labels_question;
  static_assert(Count >= 2, "Labels: there are at least 2 classes (background and foreground)");
  static constexpr int classes = Count;
  static constexpr Shape shape{1, 1, Height, Width};
};

/// A network and the input it runs on. All members are constants.
template <Layer Net, class Input>
struct Program {
  using Network = Net;
  using InputShape = Input;
  /// The same network on another input.
  template <class Other>
  using At = Program<Net, Other>;

  static constexpr Shape input_shape = Input::shape;
  static constexpr Diagnostic diagnostic = detail::diagnose<Net>(input_shape);
  static_assert(enforce<diagnostic>());

 private:
  // A broken network has been reported above; it is not compiled further, to keep the message short.
  static constexpr detail::Draft draft = diagnostic ? detail::Draft{} : detail::draft_inference<Net>(input_shape);

 public:
  /// Graph and plan for inference: norms folded, activations fused.
  static constexpr auto inference = detail::finished<draft>();

  static constexpr Shape output_shape = diagnostic ? Shape{} : draft.graph.nodes[draft.graph.output].shape;
  /// Logits a pixel.
  static constexpr int classes = output_shape.channels;
  /// Trainable numbers; running statistics are not counted.
  static constexpr std::int64_t parameter_count = draft.graph.parameter_count;
  static constexpr std::int64_t state_count = draft.graph.state_count;
  /// Multiply-accumulates of one inference of one sample.
  static constexpr std::int64_t macs = macs_of(draft.graph);
  /// Tiles start at multiples of this.
  static constexpr int alignment = alignment_of(draft.graph);
  /// Input pixels on each side of a tile that its inside depends on.
  static constexpr Halo halo = diagnostic ? Halo{} : halo_of(draft.graph);
  /// The farthest input pixel, along an axis, that an output pixel depends on.
  static constexpr int receptive_radius = diagnostic ? 0 : ulna::receptive_radius(draft.graph, alignment);

  /// Bytes that an inference needs besides the parameters and kernels' scratch, for float activations.
  static constexpr std::int64_t inference_bytes(int batch) {
    return 4 * ((inference.plan.arena + inference.plan.staging) * batch + inference.plan.persistent);
  }

  /// The network as a table: path, op, shape, parameters, MACs, arena offset.
  static std::string summary() { return ulna::summary(inference.graph, inference.plan); }
  /// The network as a picture in Graphviz's DOT language.
  static std::string dot() { return ulna::dot(inference.graph); }
  /// The same with one box for each block, in rows of one extent.
  static std::string overview() { return ulna::overview(inference.graph); }
};

/// The inference plan of a program, as TrainingProgram gives that of training.
template <class P>
struct InferenceProgram {
  static constexpr const auto& compiled = P::inference;
};

struct image_gradient_question {};

/// An option of training programs: the gradients of the loss by the image and by the logits are computed and kept too.
struct ImageGradient {
  using option = image_gradient_question;
};

/// The training plan of a program under a loss: forward, backward, memory. Options: ImageGradient, Recompute.
template <class P, class Loss, Option... Options>
struct TrainingProgram {
  static_assert(answers<image_gradient_question, Options...> + answers<recompute_question, Options...> ==
                    static_cast<int>(sizeof...(Options)),
                "TrainingProgram: the options are ImageGradient and Recompute");
  static_assert(
      Layer<typename P::Network>,
      "TrainingProgram: a frozen program cannot be trained; train the one it came from and freeze that again");

  static constexpr Diagnostic diagnostic =
      P::diagnostic ? Diagnostic{} : detail::lower_training<typename P::Network, Loss>(P::input_shape).diagnostic;
  static_assert(enforce<diagnostic>());

 private:
  using Units = typename pick<recompute_question, Recompute<>, Options...>::units;
  static constexpr bool image_gradient = answers<image_gradient_question, Options...> > 0;
  static constexpr detail::Draft draft =
      P::diagnostic || diagnostic
          ? detail::Draft{}
          : detail::draft_training<typename P::Network, Loss, Units>(P::input_shape, image_gradient);

 public:
  static constexpr auto compiled = detail::finished<draft>();

  /// Multiply-accumulates of forward and backward for one sample; what is computed twice counts twice.
  static constexpr std::int64_t macs = macs_of(compiled.graph);

  /// Bytes that a training step needs besides parameters, their gradients, optimizer state and kernels' scratch, in
  /// float.
  static constexpr std::int64_t training_bytes(int batch) {
    return 4 * ((compiled.plan.arena + compiled.plan.staging) * batch + compiled.plan.persistent);
  }
};

}  // namespace ulna
