// SPDX-License-Identifier: MIT
// A network frozen for inference: its parameters are the numbers that an inference reads, norms folded. It cannot be
// trained, and nothing is evaluated before its first inference; mapped from a file (weights/mapped_model.hpp), it is
// there at once:
//
//   save_mappable(freeze<cpu::Tbb<float>>(model), "unet.frozen");                  // once
//
//   auto model = map_model<Frozen<P>>("unet.frozen");                              // at every start
//   Predictor<Frozen<P>, cpu::Tbb<float>> predictor{model};
//
// A frozen network runs on every backend. pack<B>() and Packed<P, B> in place of freeze<B>() and Frozen<P> put the
// weights of 1x1 convolutions in the order in which the kernels of B read them, rounded where B multiplies bf16: that
// is faster still, for networks that have many (transformers, attention gates), and on B alone.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#include "ulna/bf16.hpp"
#include "ulna/graph/freeze.hpp"
#include "ulna/runtime/executor.hpp"
#include "ulna/runtime/model.hpp"

namespace ulna {

/// The network of a frozen program.
template <class Net>
struct FrozenNetwork {};

/// Program P with what depends on parameters alone as its parameters. It stands wherever a program stands, except in
/// training; results are those of P to the bit. `Order`: how weights are packed, see graph/freeze.hpp.
template <class P, WeightOrder Order = WeightOrder::rows>
struct Frozen {
  using Network = FrozenNetwork<typename P::Network>;
  using InputShape = typename P::InputShape;
  template <class Input>
  using At = Frozen<typename P::template At<Input>, Order>;

  static constexpr Diagnostic diagnostic = P::diagnostic;
  static constexpr Shape input_shape = P::input_shape;
  static constexpr Shape output_shape = P::output_shape;
  static constexpr int classes = P::classes;
  static constexpr std::int64_t macs = P::macs;
  static constexpr int alignment = P::alignment;
  static constexpr Halo halo = P::halo;
  static constexpr int receptive_radius = P::receptive_radius;

 private:
  static constexpr FrozenGraph frozen = diagnostic ? FrozenGraph{} : ulna::freeze(P::inference.graph, Order);
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

/// The frozen program that runs fastest on backend B, and nowhere else.
template <class P, class B>
using Packed = Frozen<P, packed_order<B>>;

namespace detail {

/// A weight [tap][in][out] in blocks of outputs; see WeightOrder.
template <class T>
void pack_weight(const T* rows, std::ptrdiff_t taps, std::ptrdiff_t in, std::ptrdiff_t out, WeightOrder order, T* to) {
  const int together = order == WeightOrder::pair_blocks ? 2 : 1;
  for (std::ptrdiff_t k0 = 0; k0 < out; k0 += weight_block)
    for (std::ptrdiff_t c = 0; c < in; c += together)
      for (std::ptrdiff_t tap = 0; tap < taps; ++tap)
        for (std::ptrdiff_t k = k0; k < k0 + weight_block; ++k, ++to) {
          const T* from = rows + (tap * in + c) * out + k;
          if (together == 1) {
            *to = *from;
            continue;
          }
          static_assert(sizeof(T) >= 2 * sizeof(bf16));
          const bf16 pair[] = {bf16(static_cast<float>(from[0])), bf16(static_cast<float>(from[out]))};
          std::memcpy(to, pair, sizeof pair);
        }
}

/// The numbers of F, a frozen P, that backend B evaluates.
template <class F, class B, class P, class Master>
Model<F, Master> evaluated(const Model<P, Master>& model, B backend) {
  Executor<InferenceProgram<P>, B> executor{
      backend, 1, {const_cast<Master*>(model.parameters().data()), const_cast<Master*>(model.state().data()), nullptr}};
  executor.run_once();
  Model<F, Master> frozen{zeros};
  for (int k = 0; k < F::sources.size(); ++k) {
    const Parameter& p = frozen.graph().parameters[k];
    const Tensor<Master> value = held_as<Master>(executor.tensor(F::sources[k]));
    Master* const to = frozen.mutable_values(p).data();
    const Node& source = P::inference.graph.nodes[F::sources[k]];
    const bool was_packed =
        source.op == Op::parameter && P::inference.graph.parameters[source.parameter].order == p.order;
    if (p.order == WeightOrder::rows || was_packed)
      std::copy_n(value.data, p.size(), to);
    else
      pack_weight(value.data, p.kernel.volume(), value.shape.width, p.out, p.order, to);
  }
  return frozen;
}

}  // namespace detail

/// The numbers that an inference of the model reads on backend B, which evaluates what is derived from its parameters.
template <CpuBackend B, class P>
Model<Frozen<P>, MasterOf<B>> freeze(const Model<P, MasterOf<B>>& model, B backend = {}) {
  return detail::evaluated<Frozen<P>, B>(model, std::move(backend));
}

/// The same in the order in which the kernels of B read them.
template <CpuBackend B, class P>
Model<Packed<P, B>, MasterOf<B>> pack(const Model<P, MasterOf<B>>& model, B backend = {}) {
  return detail::evaluated<Packed<P, B>, B>(model, std::move(backend));
}

}  // namespace ulna
