// SPDX-License-Identifier: MIT
// What the graph says about how far a pixel sees, against networks that run: change one row of the image, and see which
// rows of the logits change.
#include <doctest/doctest.h>

#include <vector>

#include "../support/batch.hpp"
#include "ulna/backend/eigen/eigen.hpp"
#include "ulna/model/unet.hpp"
#include "ulna/predict/predictor.hpp"

using namespace ulna;
using namespace ulna::testing;

namespace {

template <class P>
void check_dependence() {
  constexpr int in = P::input_shape.height;
  constexpr int out = P::output_shape.height;
  constexpr int border = (in - out) / 2;
  Model<P, double> model{Seed{11}};
  Predictor<P, cpu::Eigen<double>> predictor{model};
  RandomBatch batch = random_batch<P>(1);
  const auto logits = [&] {
    const Tensor<double> t = predictor.predict(batch.image_view);
    return std::vector<double>(t.data, t.data + P::output_shape.size());
  };
  const std::vector<double> before = logits();
  const std::size_t in_row = batch.images.size() / in;
  const std::size_t out_row = before.size() / out;
  int farthest = 0;
  for (int y = 0; y < in; ++y) {
    const std::vector<float> kept = batch.images;
    for (std::size_t i = 0; i < in_row; ++i) batch.images[static_cast<std::size_t>(y) * in_row + i] += 1.0f;
    const std::vector<double> after = logits();
    batch.images = kept;
    for (int o = 0; o < out; ++o) {
      const std::size_t at = static_cast<std::size_t>(o) * out_row;
      const bool changed = !std::equal(&before[at], &before[at] + out_row, &after[at]);
      const Interval seen = dependence(P::inference.graph, Axis::height, {o, o, true});
      const bool inside = seen.low <= y && y <= seen.high;
      CAPTURE(y);
      CAPTURE(o);
      if (changed) {
        CHECK(inside);
        farthest = std::max(farthest, std::abs(y - border - o));
      }
      // away from the image's own edges nothing hides the ends of what a pixel sees
      if (seen.low > 0 && seen.high < in - 1 && (y == seen.low || y == seen.high)) CHECK(changed);
    }
  }
  CHECK(farthest == P::receptive_radius);
}

// Activations and pools that let every change through.
template <int D, class... More>
using Open = UNet<Classes<1>, Width<2>, Depth<D>, activation::LeakyReLU<std::ratio<1, 2>>, down::AveragePool, More...>;

}  // namespace

TEST_CASE("rows that see a row") {
  SUBCASE("depth 1") { check_dependence<Program<Open<1>, Image<1, 24, 4>>>(); }
  SUBCASE("depth 2") { check_dependence<Program<Open<2>, Image<1, 64, 8>>>(); }
  SUBCASE("valid") { check_dependence<Program<Open<2, padding::Valid>, Image<1, 92, 44>>>(); }
  SUBCASE("bilinear") { check_dependence<Program<Open<1, up::BilinearConv<>>, Image<1, 32, 4>>>(); }
  SUBCASE("nearest with a 2x2 convolution") {
    check_dependence<Program<Open<1, up::NearestConv<2>>, Image<1, 32, 4>>>();
  }
  SUBCASE("strided") {
    check_dependence<Program<
        UNet<Classes<1>, Width<2>, Depth<1>, activation::LeakyReLU<std::ratio<1, 2>>, down::StridedConv, skip::Sum>,
        Image<1, 32, 4>>>();
  }
}
