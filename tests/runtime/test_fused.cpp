// SPDX-License-Identifier: MIT
// What is fused at inference gives the bits that the same kernels give one by one.
#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "../support/batch.hpp"
#include "ulna/backend/eigen/eigen.hpp"
#include "ulna/backend/tbb/tbb.hpp"
#include "ulna/model/attention_unet.hpp"
#include "ulna/model/r2_unet.hpp"
#include "ulna/model/trans_unet.hpp"
#include "ulna/predict/predictor.hpp"

using namespace ulna;
using namespace ulna::testing;

namespace {

/// A fused graph with sums and pools taken out of the convolutions again.
constexpr Graph<> taken_apart(const Graph<>& from) {
  Graph<> to = from;
  to.nodes.count = 0;
  FixedVector<int, node_capacity> id{};
  const auto append = [&](const Node& n) {
    to.nodes.push_back(n);
    return to.nodes.size() - 1;
  };
  for (Node n : from.nodes) {
    for (int& x : n.input) x = x < 0 ? -1 : id[x];
    n.pooled = false;
    if (n.residual == ResidualSum::none) {
      id.push_back(append(n));
      continue;
    }
    Node sum{.op = Op::add, .shape = n.shape, .scope = n.scope};
    sum.input[1] = n.input[residual_input];
    n.input[residual_input] = -1;
    if (n.residual == ResidualSum::before_activation) {
      sum.activation = n.activation;
      sum.slope = n.slope;
      n.activation = Activation::none;
    }
    n.residual = ResidualSum::none;
    sum.input[0] = append(n);
    id.push_back(append(sum));
  }
  to.image = id[from.image];
  to.output = id[from.output];
  for (Published& p : to.published) p.node = id[p.node];
  return to;
}

/// The inference of P without fused sums and pools.
template <class P>
class Unfused {
  static constexpr detail::Draft draft = [] {
    detail::Draft d;
    d.graph = taken_apart(detail::draft_inference<typename P::Network>(P::input_shape).graph);
    d.plan = plan(d.graph);
    return d;
  }();

 public:
  static constexpr auto compiled = detail::finished<draft>();
};

template <class Planned, class B>
std::vector<float> logits(const ImagesView& images, const auto& model) {
  using Master = MasterOf<B>;
  B backend;
  Executor<Planned, B> executor(
      backend, images.batch,
      {const_cast<Master*>(model.parameters().data()), const_cast<Master*>(model.state().data()), nullptr});
  executor.run_once();
  detail::stage_finite(images, executor.tensor(Planned::compiled.graph.image), "images");
  executor.run();
  const auto y = executor.tensor(Planned::compiled.graph.output);
  return {y.data, y.data + y.batch * y.shape.size()};
}

template <class P, class... Backends>
void check_bits() {
  constexpr auto ran = [](const auto& graph) { return std::count_if(graph.nodes.begin(), graph.nodes.end(), runs); };
  static_assert(ran(Unfused<P>::compiled.graph) > ran(P::inference.graph));
  Model<P> model{Seed{3}};
  const RandomBatch batch = random_batch<P>(3);
  const auto same = [&]<class B>() {
    return logits<InferenceProgram<P>, B>(batch.image_view, model) == logits<Unfused<P>, B>(batch.image_view, model);
  };
  CHECK((same.template operator()<Backends>() && ...));
}

using Fast = cpu::Tbb<float>;
using Direct = cpu::Tbb<float, arithmetic::Direct>;

}  // namespace

TEST_CASE("residuals of an R2U-Net") {
  check_bits<Program<R2UNet<Width<16>, Depth<2>>, Image<3, 20, 28>>, Fast, Direct, cpu::Eigen<float>>();
}

TEST_CASE("residuals of an attention U-Net, on channels that fill no vector") {
  check_bits<Program<AttentionUNet<Width<10>, Depth<2>, activation::LeakyReLU<>>, Image<1, 12, 20>>, Fast>();
}

TEST_CASE("pools of U-Nets: widths that fill vectors and not, extents that fill tiles and not") {
  check_bits<Program<UNet<Width<16>, Depth<2>>, Image<1, 28, 52>>, Fast, Direct, cpu::Eigen<float>>();
  check_bits<Program<UNet<Width<5>, Depth<3>, norm::None>, Image<2, 24, 40>>, Fast>();
  check_bits<Program<UNet<Width<17>, Depth<2>, odd::Pad>, Image<1, 37, 29>>, Fast, Direct>();
}

TEST_CASE("residuals of a transformer") {
  using Net = TransUNet<Classes<2>, Hidden<36>, Layers<2>, Heads<3>, Mlp<50>, Units<1, 1, 1>, Width<4>, Groups<2>,
                        Bridge<6>, Decoder<8, 6, 4, 2>>;
  check_bits<Program<Net, Image<1, 32, 48>>, Fast>();
}
