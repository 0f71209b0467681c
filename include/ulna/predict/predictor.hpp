// SPDX-License-Identifier: MIT
// Inference of whole batches of the compiled extent.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <type_traits>
#include <utility>

#include "ulna/runtime/executor.hpp"
#include "ulna/runtime/model.hpp"
#include "ulna/runtime/profile.hpp"
#include "ulna/runtime/view.hpp"

namespace ulna {

namespace detail {
/// The first parameter that depends on the input's extent and therefore differs between two programs of one network.
template <class ModelProgram, class P>
constexpr Diagnostic parameter_difference() {
  Diagnostic d;
  for (int i = 0; i < P::inference.graph.parameters.size() && !d; ++i) {
    const Parameter& trained = ModelProgram::inference.graph.parameters[i];
    const Parameter& here = P::inference.graph.parameters[i];
    for (const Axis axis : op::all_axes) {
      if (d || along(trained.kernel, axis) == along(here.kernel, axis)) continue;
      d.rule = RuleKind::parameters_must_match;
      d.found = along(here.kernel, axis);
      d.required = along(trained.kernel, axis);
      d.sentence = path_words(P::inference.graph, here.scope);
      d.sentence << "/" << here.name << ": a map of " << here.kernel.height << " x " << here.kernel.width
                 << " in this program, of " << trained.kernel.height << " x " << trained.kernel.width
                 << " in the model; resize the model with ulna::at_extent, or predict at its own extent";
    }
  }
  return d;
}
}  // namespace detail

/// Runs program P on a backend. P may differ from the model's own program in its input extents, not in its network; a
/// network whose parameters depend on the extent (position embeddings) does not compile then.
template <class P, Backend B>
class Predictor {
 public:
  using Element = typename B::Element;
  using Master = MasterOf<B>;

  /// `batch`: the largest batch that predict() will be given.
  template <class ModelProgram>
  explicit Predictor(Model<ModelProgram, Master>& model, int batch = 1, B backend = {})
      : backend_(std::move(backend)),
        numbers_([&model] {
          model.settle();
          return Numbers{model.revision(), model.streamed().file != nullptr};
        }),
        max_batch_(batch),
        executor_(
            backend_, batch,
            {const_cast<Master*>(model.parameters().data()), const_cast<Master*>(model.state().data()), nullptr}) {
    static_assert(std::is_same_v<typename ModelProgram::Network, typename P::Network>,
                  "Predictor: the model belongs to another network");
    if constexpr (std::is_same_v<typename ModelProgram::Network, typename P::Network>)
      static_assert(enforce<difference<ModelProgram>>());
    if (CpuBackend<B> && model.streamed().file)
      stream_ = WeightStream(P::inference.graph, model.parameters(), model.streamed());
  }

  /// Logits of a batch of images (batch, height, width, channels). The view is valid until the next call.
  /// Throws DataError for wrong sizes and non-finite pixels.
  Tensor<Element> predict(const ImagesView& images) {
    detail::require_shape(images, P::input_shape, max_batch_, "images");
    if (executor_.batch() != images.batch) executor_.bind(images.batch);
    const Numbers now = numbers_();
    const bool streamed = now.streamed && stream_;
    if (now.revision != evaluated_revision_) {
      executor_.run_once();
      evaluated_revision_ = now.revision;
      if (streamed) stream_.after_once();
    }
    detail::stage_finite(images, executor_.tensor(P::inference.graph.image), "images");
    if (streamed)
      run_streamed();
    else
      executor_.run();
    return executor_.tensor(P::inference.graph.output);
  }

  /// What an inference of a batch costs, and where its time goes, node by node. What is evaluated only when parameters
  /// change is not among them. Costs nothing unless it is called. Throws as predict().
  Profile profile(const ImagesView& images, const ProfileOptions& options = {}) {
    predict(images);
    if constexpr (CpuBackend<B>)
      return detail::profile(executor_, backend_, options);
    else
      return executor_.profile(backend_, options);
  }

  /// A value inside the network that it publishes (attention maps, logits of further heads), of the last batch, by its
  /// path such as `decoder[2]/gate/attention`. Throws ArgumentError with the paths there are.
  Tensor<Element> published(std::string_view path) const { return executor_.published(path); }

  /// Bytes held besides the model's.
  std::size_t bytes() const { return executor_.bytes(); }
  B& backend() { return backend_; }

 private:
  template <class ModelProgram>
  static constexpr Diagnostic difference = detail::parameter_difference<ModelProgram, P>();

  /// What the model's numbers are now.
  struct Numbers {
    std::uint64_t revision = 0;
    bool streamed = false;
  };

  void run_streamed() {
    if constexpr (CpuBackend<B>) {
      auto give_back = stream_.follow();
      executor_.run_each([&give_back](auto kernel, const Call<Element>& call) {
        kernel(call);
        give_back(static_cast<int>(call.node - P::inference.graph.nodes.begin()));
      });
    }
  }

  B backend_;
  std::function<Numbers()> numbers_;
  std::uint64_t evaluated_revision_ = 0;
  int max_batch_;
  Executor<InferenceProgram<P>, B> executor_;
  WeightStream stream_;
};

}  // namespace ulna
