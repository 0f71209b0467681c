// SPDX-License-Identifier: MIT
// Packed networks: the bits of the network they came from, from memory and from a file, on the backend that they were
// packed for; files for another are refused.
#include <doctest/doctest.h>

#include <vector>

#include "../data/temporary_folder.hpp"
#include "ulna/backend/tbb/tbb.hpp"
#include "ulna/layer/conv.hpp"
#include "ulna/layer/norm.hpp"
#include "ulna/predict/frozen.hpp"
#include "ulna/predict/predictor.hpp"
#include "ulna/weights/mapped_model.hpp"

using namespace ulna;
using ulna::testing::contains;
using ulna::testing::message_of;
using ulna::testing::TemporaryFolder;

namespace {

using Float = cpu::Tbb<float>;
using Half = cpu::Tbb<bf16>;
using Tiles = cpu::Tbb<bf16, arithmetic::Direct, Isa<64, true, PairDot::emulated_tiles>>;
using Narrow = cpu::Tbb<bf16, arithmetic::Direct, Isa<32, true>>;

/// Products of whole blocks, of several steps, with a folded norm and with a residual; 3x3 convolutions that run as
/// Winograd's, in one block of outputs and in several, and on maps too small for that; and some that cannot be packed.
struct Products {
  static constexpr const char* name = "Products";
  static constexpr Value lower(Builder& b, Value x) {
    constexpr Window half = window2d(2, 2);
    x = layer::conv(b, x, {.channels = 32, .kernel = 3}, "stem");
    x = layer::conv(b, x, {.channels = 448, .kernel = 1}, "wide");
    x = norm::Batch::lower(b, x, "norm");
    const Value narrow = layer::conv(b, x, {.channels = 64, .kernel = 1}, "narrow");
    x = layer::conv(b, narrow, {.channels = 64, .kernel = 1}, "square");
    x = op::add(b, x, narrow);
    const Value fine = layer::conv(b, x, {.channels = 192, .kernel = 3}, "fine");
    const Value coarse = layer::conv(b, op::max_pool(b, fine, half), {.channels = 64, .kernel = 3}, "coarse");
    const Value tiny = layer::conv(b, op::max_pool(b, coarse, half), {.channels = 64, .kernel = 3}, "tiny");
    const Value wide = layer::transposed_conv(b, tiny, 80, 2, true, "up");
    x = op::add(b, x, layer::transposed_conv(b, wide, 64, 2, false, "up_again"));
    x = layer::conv(b, x, {.channels = 50, .kernel = 1}, "no_blocks");
    return layer::conv(b, x, {.channels = 3, .kernel = 1}, "head");
  }
};
using P = Program<Products, Image<2, 12, 12>>;

template <class B, class Q>
std::vector<float> logits(Model<Q>& model, int threads = 2) {
  constexpr int batch = 2;
  std::vector<float> image(batch * static_cast<std::size_t>(Q::input_shape.size()));
  Random random(Seed{6}, 0, 0);
  for (float& v : image) v = random.normal();
  Predictor<Q, B> predictor{model, batch, B{threads}};
  const auto out =
      predictor.predict({image, batch, Q::input_shape.height, Q::input_shape.width, Q::input_shape.channels});
  std::vector<float> values;
  for (int n = 0; n < out.batch; ++n)
    for (std::ptrdiff_t i = 0; i < out.pixels(); ++i)
      for (int c = 0; c < out.shape.channels; ++c) values.push_back(static_cast<float>(out.pixel(n, i)[c]));
  return values;
}

template <class B>
void check_packed() {
  using F = Packed<P, B>;
  int products = 0, windows = 0;
  for (const Parameter& p : F::inference.graph.parameters) {
    products += p.kernel.volume() == 1 && p.order == B::packed_weights;
    windows += p.kernel.volume() == 9 && p.order == WeightOrder::blocks;
  }
  CHECK(products == 3);
  CHECK(windows == 3);
  constexpr std::int64_t halved = 32 * 448 + 448 * 64 + 64 * 64;
  constexpr bool pairs = B::packed_weights == WeightOrder::pair_blocks;
  CHECK(F::parameter_count == Frozen<P>::parameter_count - (pairs ? halved / 2 : 0));

  Model<P> model{Seed{4}};
  const std::vector<float> expected = logits<B>(model);
  Model<F> frozen = pack<B>(model);
  CHECK(logits<B>(frozen) == expected);
  CHECK(logits<B>(frozen, 5) == expected);
  const TemporaryFolder folder;
  const auto path = folder.path() / "net.packed";
  save_mappable(frozen, path);
  Model<F> mapped = map_model<F>(path);
  CHECK(mapped.hash() == frozen.hash());
  CHECK(logits<B>(mapped) == expected);

  // Another weight gives other logits: the comparisons above can fail.
  mapped.mutable_values(F::inference.graph.parameters[0])[7] += 1.0f;
  CHECK(logits<B>(mapped) != expected);
}

}  // namespace

TEST_CASE("a packed network gives the same bits: float") { check_packed<Float>(); }
TEST_CASE("a packed network gives the same bits: bf16") { check_packed<Half>(); }
TEST_CASE("a packed network gives the same bits: bf16 without products of pairs") { check_packed<Narrow>(); }
TEST_CASE("a packed network gives the same bits: bf16 tiles") { check_packed<Tiles>(); }

TEST_CASE("files of packed networks are for the program that they were packed for") {
  const Model<P> model{Seed{4}};
  const TemporaryFolder folder;
  const auto path = folder.path() / "net.packed";
  const auto refusal = [&]<class F>(const Model<F>&) { return message_of<WeightsError>([&] { map_model<F>(path); }); };
  save_mappable(pack<Half>(model), path);
  CHECK(contains(refusal(pack<Float>(model)),
                 "its layout is \"ulna memory order 1, packed for bf16\", and this program "
                 "maps \"ulna memory order 1, packed for float\"; freeze or pack"));
  CHECK(contains(refusal(freeze<Half>(model)), "this program maps \"ulna memory order 1\""));
  Model<P> other{Seed{5}};
  CHECK(contains(message_of<WeightsError>([&] { load_weights(other, path); }), "its numbers are in memory order"));
  save_mappable(freeze<Half>(model), path);
  CHECK(contains(refusal(pack<Half>(model)), "its layout is \"ulna memory order 1\", and this program maps"));
}

TEST_CASE("freezing what is packed leaves it packed") {
  Model<P> model{Seed{4}};
  Model<Packed<P, Half>> once = pack<Half>(model);
  Model<Packed<Packed<P, Half>, Half>> twice = pack<Half>(once);
  CHECK(twice.hash() == once.hash());
  CHECK(logits<Half>(twice) == logits<Half>(model));
}
