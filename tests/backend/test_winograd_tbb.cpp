// SPDX-License-Identifier: MIT
// Winograd convolutions of the Tbb backend against plain loops in double; the same bits on any number of threads; and
// the same bits for a pixel in any tile of the image that starts on the grid.
#include "convolution_cases.hpp"
#include "ulna/backend/tbb/winograd.hpp"
#include "ulna/backend/tbb/winograd_weight_gradient.hpp"

using namespace ulna;
using namespace ulna::convolution_cases;

namespace {

template <class F>
constexpr Kernels kernels_of{
    &winograd::convolution<NativeIsa, float, F>, &winograd::convolution_scratch_bytes<NativeIsa, float, F>,
    &winograd::weight_gradient<NativeIsa>, &winograd::weight_gradient_scratch_bytes<NativeIsa>, true};
constexpr Kernels winograd_kernels = kernels_of<winograd::F6>;

Window window3(int before_y, int before_x, int after_y, int after_x) {
  Window w = window2d(3);
  w.pad_before = {0, before_y, before_x};
  w.pad_after = {0, after_y, after_x};
  return w;
}

/// Same, valid, full or uneven padding.
Window random_padding(Random& r) {
  const int same = r.below(3);
  if (r.chance(0.7f)) return window3(same, same, same, same);
  return window3(r.below(4), r.below(4), r.below(4), r.below(4));
}

int random_width(Random& r) {
  constexpr int choice[] = {16, 17, 24, 32, 33, 48, 64, 80, 100, 130};
  return choice[r.below(10)];
}

}  // namespace

TEST_CASE_TEMPLATE(
    "winograd convolution and its adjoint: random extents, paddings, channels, slices against plain loops", F,
    winograd::F4, winograd::F6) {
  Random r(Seed{31});
  for (int i = 0; i < 40; ++i) {
    const Window w = random_padding(r);
    const auto [small, large] = random_extents(w, r, i % 4 == 0 ? 60 : 18);
    for (const Op op : {Op::convolution, Op::transposed_convolution})
      check_convolution(make_convolution(r, op, w, small, large, random_width(r), random_width(r), 1 + r.below(3)),
                        kernels_of<F>);
  }
}

TEST_CASE("winograd convolution with a residual") {
  Random r(Seed{36});
  for (int i = 0; i < 24; ++i) {
    const Window w = random_padding(r);
    const auto [small, large] = random_extents(w, r, i % 4 == 0 ? 60 : 18);
    check_residual(
        make_convolution(r, Op::convolution, w, small, large, random_width(r), random_width(r), 1 + r.below(3)), r,
        winograd_kernels);
  }
}

TEST_CASE_TEMPLATE("winograd convolution with a max pool", F, winograd::F4, winograd::F6) {
  Random r(Seed{37});
  for (int i = 0; i < 24; ++i) {
    const Window w = random_padding(r);
    const auto [small, large] = random_extents(w, r, i % 4 == 0 ? 60 : 18);
    if (small.height < 2 || small.width < 2) continue;
    check_pooled(
        make_convolution(r, Op::convolution, w, small, large, random_width(r), random_width(r), 1 + r.below(3)),
        kernels_of<F>);
  }
}

TEST_CASE("winograd convolution: many tiles, channel blocks, output blocks") {
  Random r(Seed{32});
  struct Layer {
    int in, out, extent, batch;
  };
  // the last: inputs are transformed once for several blocks of outputs, in two rounds
  for (const Layer& l : {Layer{16, 16, 90, 3}, Layer{64, 32, 40, 2}, Layer{150, 130, 20, 3}, Layer{300, 70, 9, 1},
                         Layer{80, 200, 20, 1}, Layer{520, 140, 7, 30}})
    for (const Op op : {Op::convolution, Op::transposed_convolution})
      check_convolution(make_convolution(r, op, window2d(3, 1, 1), {1, l.extent, l.extent}, {1, l.extent, l.extent},
                                         l.in, l.out, l.batch),
                        winograd_kernels);
}

TEST_CASE("winograd weight gradient: random extents, paddings, channels and slices against plain loops") {
  Random r(Seed{35});
  for (int i = 0; i < 60; ++i) {
    const Window w = random_padding(r);
    const auto [small, large] = random_extents(w, r, i % 4 == 0 ? 60 : 18);
    check_weight_gradient(make_weight_gradient(r, w, small, large, random_width(r), random_width(r), 1 + r.below(3)),
                          winograd_kernels);
  }
  // several bands
  check_weight_gradient(make_weight_gradient(r, window2d(3, 1, 1), {1, 66, 90}, {1, 66, 90}, 16, 32, 3),
                        winograd_kernels);
}

TEST_CASE("winograd: the same bits on any number of threads") {
  Random r(Seed{33});
  for (int i = 0; i < 12; ++i) {
    const Window w = random_padding(r);
    const auto [small, large] = random_extents(w, r, 70);
    for (const Op op : {Op::convolution, Op::transposed_convolution}) {
      Case c = make_convolution(r, op, w, small, large, random_width(r), random_width(r), 3);
      INFO(describe(c));
      const std::vector<float> one = bits_on(c, 1, winograd_kernels);
      CHECK(same_bits(one, bits_on(c, 2, winograd_kernels)));
      CHECK(same_bits(one, bits_on(c, 4, winograd_kernels)));
      if (i == 0) {
        Case rounds = make_convolution(r, op, window2d(3, 1, 1), {1, 7, 7}, {1, 7, 7}, 520, 140, 30);
        CHECK(same_bits(bits_on(rounds, 1, winograd_kernels), bits_on(rounds, 4, winograd_kernels)));
      }
    }
    Case c = make_weight_gradient(r, w, small, large, random_width(r), random_width(r), 3);
    INFO(describe(c));
    const std::vector<float> one = bits_on(c, 1, winograd_kernels);
    CHECK(same_bits(one, bits_on(c, 2, winograd_kernels)));
    CHECK(same_bits(one, bits_on(c, 4, winograd_kernels)));
  }
}

// A tile of the image that starts on the grid gives the bits of the whole image, but where its own zero padding shows.
TEST_CASE_TEMPLATE("winograd: a pixel's bits do not depend on where its tile lies", F, winograd::F4, winograd::F6) {
  Random r(Seed{34});
  for (int i = 0; i < 30; ++i) {
    const Window w = window2d(3, 1, r.below(3));
    const Extent whole_in{1, 28 + r.below(40), 28 + r.below(40)};
    Case whole = make_convolution(r, Op::convolution, w, window_output(whole_in, w), whole_in, random_width(r),
                                  random_width(r), 1);
    const Shape in = whole.x.view.shape;
    const int y0 = F::outputs * r.below(3);
    const int x0 = F::outputs * r.below(3);
    const Extent cut{1, 14 + r.below(in.height - y0 - 13), 14 + r.below(in.width - x0 - 13)};
    const Extent out = window_output(cut, w);
    Case tile = make_convolution(r, Op::convolution, w, out, cut, in.channels, whole.y.view.shape.channels, 1);
    const Shape shape = tile.node.shape;
    tile.node = whole.node;
    tile.node.shape = shape;
    tile.w.memory = whole.w.memory;
    tile.w.view.data = tile.w.memory.data();
    tile.bias.memory = whole.bias.memory;
    tile.bias.view = whole.bias.view;
    if (tile.bias.view) tile.bias.view.data = tile.bias.memory.data();
    for (int y = 0; y < cut.height; ++y)
      for (int x = 0; x < cut.width; ++x)
        std::copy_n(whole.x.view.pixel(0, (y0 + y) * in.width + x0 + x), in.channels,
                    tile.x.view.pixel(0, y * cut.width + x));
    run_case(whole, kernels_of<F>);
    run_case(tile, kernels_of<F>);
    // what winograd::reach says of one axis
    const auto inside = [&](int o, int extent) {
      const Interval read = winograd::reach<F>(w.pad_before.height, {o, o, true});
      return read.low >= 0 && read.high < extent;
    };
    int compared = 0;
    int different = 0;
    for (int y = 0; y < out.height; ++y)
      for (int x = 0; x < out.width; ++x) {
        if (!inside(y, cut.height) || !inside(x, cut.width)) continue;
        ++compared;
        different += std::memcmp(tile.y.view.pixel(0, y * out.width + x),
                                 whole.y.view.pixel(0, (y0 + y) * whole.y.view.shape.width + x0 + x),
                                 static_cast<std::size_t>(shape.channels) * sizeof(float)) != 0;
      }
    INFO(describe(whole));
    INFO("tile " << cut.height << "x" << cut.width << " at " << y0 << ", " << x0);
    CHECK(compared > 0);
    CHECK(different == 0);
  }
}
