// SPDX-License-Identifier: MIT
// A network frozen for inference: its parameters are the numbers that an inference reads, norms folded. It cannot be
// trained, and nothing is evaluated before its first inference; mapped from a file (weights/mapped_model.hpp), it is
// there at once:
//
//   save_mappable(freeze<cpu::Tbb<float>>(model), "unet.frozen");                  // once
//
//   auto model = map_model<Frozen<P>>("unet.frozen");                              // at every start
//   Predictor<Frozen<P>, cpu::Tbb<float>> predictor{model};
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "ulna/graph/freeze.hpp"
#include "ulna/runtime/executor.hpp"
#include "ulna/runtime/model.hpp"

namespace ulna {

/// The network of a frozen program.
template <class Net>
struct FrozenNetwork {};

/// Program P with what depends on parameters alone as its parameters. It stands wherever a program stands, except in
/// training; results are those of P to the bit.
template <class P>
struct Frozen {
  using Network = FrozenNetwork<typename P::Network>;
  using InputShape = typename P::InputShape;
  template <class Input>
  using At = Frozen<typename P::template At<Input>>;

  static constexpr Diagnostic diagnostic = P::diagnostic;
  static constexpr Shape input_shape = P::input_shape;
  static constexpr Shape output_shape = P::output_shape;
  static constexpr int classes = P::classes;
  static constexpr std::int64_t macs = P::macs;
  static constexpr int alignment = P::alignment;
  static constexpr Halo halo = P::halo;
  static constexpr int receptive_radius = P::receptive_radius;

 private:
  static constexpr FrozenGraph frozen = diagnostic ? FrozenGraph{} : ulna::freeze(P::inference.graph);
  static constexpr detail::Draft draft = [] {
    detail::Draft d;
    d.graph = frozen.graph;
    if (!diagnostic) d.plan = plan(d.graph);
    return d;
  }();

 public:
  static constexpr auto inference = detail::finished<draft>();
  /// Of each parameter: the node of P's inference graph whose value it is.
  static constexpr auto sources = [] {
    FixedVector<int, frozen.source.size()> exact;
    for (const int node : frozen.source) exact.push_back(node);
    return exact;
  }();

  static constexpr std::int64_t parameter_count = draft.graph.parameter_count;
  static constexpr std::int64_t state_count = 0;

  static constexpr std::int64_t inference_bytes(int batch) {
    return 4 * ((inference.plan.arena + inference.plan.staging) * batch + inference.plan.persistent);
  }

  static std::string summary() { return ulna::summary(inference.graph, inference.plan); }
  static std::string dot() { return ulna::dot(inference.graph); }
  static std::string overview() { return ulna::overview(inference.graph); }
};

/// The numbers that an inference of the model reads on backend B, which evaluates what is derived from its parameters.
template <CpuBackend B, class P>
Model<Frozen<P>, MasterOf<B>> freeze(const Model<P, MasterOf<B>>& model, B backend = {}) {
  using Master = MasterOf<B>;
  Executor<InferenceProgram<P>, B> executor{
      backend, 1, {const_cast<Master*>(model.parameters().data()), const_cast<Master*>(model.state().data()), nullptr}};
  executor.run_once();
  Model<Frozen<P>, Master> frozen{zeros};
  for (int k = 0; k < Frozen<P>::sources.size(); ++k) {
    const Parameter& p = frozen.graph().parameters[k];
    const Tensor<Master> value = held_as<Master>(executor.tensor(Frozen<P>::sources[k]));
    std::copy_n(value.data, p.size(), frozen.mutable_values(p).begin());
  }
  return frozen;
}

}  // namespace ulna
