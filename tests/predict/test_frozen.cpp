// SPDX-License-Identifier: MIT
// Frozen networks: the bits of the network they came from, from memory and from a file, whole and in tiles.
#include <doctest/doctest.h>

#include <cstring>
#include <set>
#include <vector>

#include "../data/temporary_folder.hpp"
#include "check_exact.hpp"
#include "ulna/backend/tbb/tbb.hpp"
#include "ulna/model/r2_unet.hpp"
#include "ulna/predict/frozen.hpp"
#include "ulna/weights/mapped_model.hpp"

using namespace ulna;
using ulna::testing::contains;
using ulna::testing::message_of;
using ulna::testing::random_image;
using ulna::testing::TemporaryFolder;

namespace {

using B = cpu::Tbb<float>;

/// A norm that folds into nothing, a weight that is standardised and folded, and norms whose numbers stay parameters.
struct Mixed {
  static constexpr const char* name = "Mixed";
  static constexpr Value lower(Builder& b, Value x) {
    x = norm::Batch::lower(b, x, "input_norm");
    x = layer::conv(b, x, {.channels = 8, .standardized = true}, "first");
    x = norm::Batch::lower(b, x, "first_norm");
    x = layer::conv(b, x, {.channels = 12}, "second");
    x = norm::Group<4>::lower(b, x, "second_norm");
    return layer::conv(b, x, {.channels = 3, .kernel = 1}, "head");
  }
};

/// A model whose norms do something.
template <class P>
Model<P> trained() {
  Model<P> model{Seed{4}};
  Random random(Seed{5}, 0, 0);
  for (const Parameter& p : model.graph().parameters)
    if (p.in == 1 && p.kernel.volume() == 1)
      for (float& v : model.mutable_values(p)) v = random.uniform(0.5f, 1.5f);
  return model;
}

template <class Q>
std::vector<float> logits(Model<Q>& model, const std::vector<float>& image) {
  Predictor<Q, B> predictor{model, 2, B{2}};
  const Tensor<float> out =
      predictor.predict({image, 2, Q::input_shape.height, Q::input_shape.width, Q::input_shape.channels});
  std::vector<float> values;
  for (int n = 0; n < out.batch; ++n)
    for (std::ptrdiff_t i = 0; i < out.pixels(); ++i)
      values.insert(values.end(), out.pixel(n, i), out.pixel(n, i) + out.shape.channels);
  return values;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// Freezes a model, writes it, maps it; all of them must give the same bits.
template <class P>
void check_frozen() {
  using F = Frozen<P>;
  for (const Node& n : F::inference.graph.nodes) CHECK_FALSE(n.once);
  CHECK(F::inference.plan.arena == P::inference.plan.arena);
  CHECK(F::inference.plan.persistent == 0);
  std::set<std::string> names;
  for (const Parameter& p : F::inference.graph.parameters) names.insert(name_of(F::inference.graph, p));
  CHECK(names.size() == static_cast<std::size_t>(F::inference.graph.parameters.size()));

  std::vector<float> image(2 * static_cast<std::size_t>(P::input_shape.size()));
  Random random(Seed{6}, 0, 0);
  for (float& v : image) v = random.normal();
  Model<P> model = trained<P>();
  const std::vector<float> expected = logits(model, image);

  Model<F> frozen = freeze<B>(model, B{2});
  CHECK(same_bits(logits(frozen, image), expected));
  const TemporaryFolder folder;
  save_mappable(frozen, folder.path() / "net.frozen");
  Model<F> mapped = map_model<F>(folder.path() / "net.frozen");
  CHECK(mapped.hash() == frozen.hash());
  CHECK(same_bits(logits(mapped, image), expected));

  // Another model gives other logits: the comparison above can fail.
  model.mutable_parameters()[0] += 1.0f;
  CHECK_FALSE(same_bits(logits(model, image), expected));
}

}  // namespace

TEST_CASE("a frozen U-Net gives the same bits") {
  check_frozen<Program<UNet<Width<16>, Depth<1>>, Image<1, 24, 24>>>();
}

TEST_CASE("a weight folded with several norms has a value for each") {
  using P = Program<R2UNet<Width<4>, Depth<1>>, Image<1, 8, 8>>;
  check_frozen<P>();
  bool several = false;
  for (const Parameter& p : Frozen<P>::inference.graph.parameters)
    several |= contains(name_of(Frozen<P>::inference.graph, p), "set.1.weight");
  CHECK(several);
}

TEST_CASE("norms that fold into nothing, and standardised weights") {
  using P = Program<Mixed, Image<2, 12, 12>>;
  check_frozen<P>();
  std::set<std::string> names;
  for (const Parameter& p : Frozen<P>::inference.graph.parameters) names.insert(name_of(Frozen<P>::inference.graph, p));
  CHECK(names == std::set<std::string>{"input_norm.running_affine", "first.weight", "first.bias", "second.weight",
                                       "second.bias", "second_norm.weight", "second_norm.bias", "head.weight",
                                       "head.bias"});
}

TEST_CASE("a frozen network segments in tiles, and is another network in files") {
  using P = Program<UNet<Width<4>, Depth<1>>, Image<1, 24, 24>>;
  Model<P> model = trained<P>();
  Model<Frozen<P>> frozen = freeze<B>(model);
  const ImageArray image = random_image(70, 61, 1);
  CHECK(segment<B, 32>(frozen, image) == segment<B, 32>(model, image));

  const TemporaryFolder folder;
  const auto path = folder.path() / "net.mapped";
  save_mappable(model, path);
  CHECK(contains(message_of<WeightsError>([&] { map_model<Frozen<P>>(path); }), "another network"));
}
