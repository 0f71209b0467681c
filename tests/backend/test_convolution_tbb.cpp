// SPDX-License-Identifier: MIT
// The convolution family of the Tbb backend against plain loops in double, on random shapes; and its two promises: the
// same bits on any number of threads, and the same bits for a pixel wherever it lies.
#include "convolution_cases.hpp"

using namespace ulna;
using namespace ulna::convolution_cases;

TEST_CASE("tbb convolution: random shapes against plain loops") {
  Random r(Seed{11});
  for (int i = 0; i < 150; ++i) {
    const Window w = random_window(r);
    const auto [small, large] = random_extents(w, r, i % 3 == 0 ? 60 : 20);
    check_convolution(
        make_convolution(r, Op::convolution, w, small, large, random_channels(r), random_channels(r), 1 + r.below(3)));
  }
}

TEST_CASE("tbb convolution with a residual: random shapes, and more channels than are summed at once") {
  Random r(Seed{16});
  for (int i = 0; i < 60; ++i) {
    const Window w = random_window(r);
    const auto [small, large] = random_extents(w, r, i % 3 == 0 ? 60 : 20);
    check_residual(
        make_convolution(r, Op::convolution, w, small, large, random_channels(r), random_channels(r), 1 + r.below(3)),
        r);
  }
  for (const int out : {5, 64, 70})
    check_residual(make_convolution(r, Op::convolution, window2d(3, 1, 1), {1, 40, 50}, {1, 40, 50}, 270, out, 2), r);
}

TEST_CASE("tbb convolution with a max pool") {
  Random r(Seed{17});
  for (int i = 0; i < 60; ++i) {
    const Window w = random_window(r);
    const auto [small, large] = random_extents(w, r, i % 3 == 0 ? 70 : 20);
    if (small.height < 2 || small.width < 2) continue;
    check_pooled(
        make_convolution(r, Op::convolution, w, small, large, random_channels(r), random_channels(r), 1 + r.below(3)));
  }
  for (const int out : {5, 64, 70, 130})  // several column tiles, blocks of channels and of outputs
    check_pooled(make_convolution(r, Op::convolution, window2d(3, 1, 1), {1, 24, 301}, {1, 24, 301}, 140, out, 2));
}

TEST_CASE("tbb transposed convolution: random shapes against plain loops") {
  Random r(Seed{12});
  for (int i = 0; i < 150; ++i) {
    const Window w = random_window(r);
    const auto [small, large] = random_extents(w, r, i % 3 == 0 ? 60 : 20);
    check_convolution(make_convolution(r, Op::transposed_convolution, w, small, large, random_channels(r),
                                       random_channels(r), 1 + r.below(3)));
  }
}

TEST_CASE("tbb convolution weight gradient: random shapes against plain loops") {
  Random r(Seed{13});
  for (int i = 0; i < 150; ++i) {
    const Window w = random_window(r);
    const auto [small, large] = random_extents(w, r, i % 3 == 0 ? 80 : 20);
    check_weight_gradient(
        make_weight_gradient(r, w, small, large, random_channels(r), random_channels(r), 1 + r.below(3)));
  }
}

TEST_CASE("tbb convolution: the shapes of a U-Net") {
  Random r(Seed{14});
  const Window same3 = window2d(3, 1, 1);
  const Window up2 = window2d(2, 2);
  const auto square = [](int n) { return Extent{1, n, n}; };
  struct Layer {
    Window window;
    int in, out, small, large;
  };
  // first layer, level, channel blocks, several tiles, head, up-convolution, bottom wider than its weight block
  for (const Layer& l :
       {Layer{same3, 1, 16, 40, 40}, Layer{same3, 3, 64, 24, 24}, Layer{same3, 16, 16, 32, 32},
        Layer{same3, 160, 72, 8, 8}, Layer{same3, 320, 64, 4, 4}, Layer{same3, 8, 16, 300, 300},
        Layer{window2d(1), 16, 2, 70, 70}, Layer{window2d(1), 64, 1, 33, 33}, Layer{up2, 64, 32, 8, 16},
        Layer{window2d(3), 16, 32, 30, 32}, Layer{window2d(1), 300, 3, 9, 9}, Layer{window2d(7, 2, 3), 3, 64, 16, 32},
        Layer{window2d(11, 1, 5), 5, 18, 12, 12}, Layer{window2d(1), 400, 130, 14, 14}}) {
    for (const Op op : {Op::convolution, Op::transposed_convolution})
      check_convolution(make_convolution(r, op, l.window, square(l.small), square(l.large), l.in, l.out, 2));
    check_weight_gradient(make_weight_gradient(r, l.window, square(l.small), square(l.large), l.in, l.out, 2));
  }
}

TEST_CASE("tbb convolution family: the same bits on any number of threads") {
  Random r(Seed{15});
  for (int i = 0; i < 30; ++i) {
    const Window w = random_window(r);
    const auto [small, large] = random_extents(w, r, 50);
    for (const Op op : {Op::convolution, Op::transposed_convolution}) {
      Case c = make_convolution(r, op, w, small, large, random_channels(r), random_channels(r), 3);
      INFO(describe(c));
      CHECK(same_bits(bits_on(c, 1), bits_on(c, 5)));
    }
    Case c = make_weight_gradient(r, w, small, large, random_channels(r), random_channels(r), 3);
    INFO(describe(c));
    CHECK(same_bits(bits_on(c, 1), bits_on(c, 5)));
  }
}

// A tile of the image, with the halo that its window needs, gives the bits of the whole image.
TEST_CASE("tbb convolution: a pixel's bits do not depend on where it lies") {
  Random r(Seed{16});
  for (int i = 0; i < 60; ++i) {
    const bool transposed = i % 2 == 1;
    Window w = random_window(r);
    w.pad_before = w.pad_after = {0, 0, 0};
    if (transposed) w.kernel.height = w.kernel.width = 1 + r.below(4);
    const auto [small, large] = random_extents(w, r, 90);
    Case whole = make_convolution(r, transposed ? Op::transposed_convolution : Op::convolution, w, small, large,
                                  random_channels(r), random_channels(r), 1);
    const Shape in = whole.x.view.shape;
    // the tile: input rows and columns from (y0, x0) on
    const int margin_y = transposed ? 0 : span_of(w.kernel.height, w.dilation.height) - 1;
    const int margin_x = transposed ? 0 : span_of(w.kernel.width, w.dilation.width) - 1;
    const int step_y = transposed ? 1 : w.stride.height;
    const int step_x = transposed ? 1 : w.stride.width;
    const int y0 = r.below((in.height - margin_y - 1) / step_y + 1);
    const int x0 = r.below((in.width - margin_x - 1) / step_x + 1);
    const Extent cut{1, margin_y + 1 + r.below(in.height - margin_y - y0 * step_y),
                     margin_x + 1 + r.below(in.width - margin_x - x0 * step_x)};
    Window inner = w;
    const Extent out = transposed ? transposed_output(cut, inner) : window_output(cut, inner);
    Case tile = make_convolution(r, whole.node.op, inner, transposed ? cut : out, transposed ? out : cut, in.channels,
                                 whole.y.view.shape.channels, 1);
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
        std::copy_n(whole.x.view.pixel(0, (y0 * step_y + y) * in.width + x0 * step_x + x), in.channels,
                    tile.x.view.pixel(0, y * cut.width + x));
    run_case(whole, direct);
    run_case(tile, direct);
    // outputs that see only the tile; the adjoint also has outputs at the rim that pixels outside the tile reach
    const int rim_y = transposed ? span_of(w.kernel.height, w.dilation.height) - 1 : 0;
    const int rim_x = transposed ? span_of(w.kernel.width, w.dilation.width) - 1 : 0;
    const int shift_y = transposed ? y0 * w.stride.height : y0;
    const int shift_x = transposed ? x0 * w.stride.width : x0;
    int different = 0;
    for (int y = rim_y; y < out.height - rim_y; ++y)
      for (int x = rim_x; x < out.width - rim_x; ++x)
        different += std::memcmp(tile.y.view.pixel(0, y * out.width + x),
                                 whole.y.view.pixel(0, (shift_y + y) * whole.y.view.shape.width + shift_x + x),
                                 static_cast<std::size_t>(shape.channels) * sizeof(float)) != 0;
    INFO(describe(whole));
    INFO("tile " << cut.height << "x" << cut.width << " at " << y0 << ", " << x0);
    CHECK(different == 0);
  }
}

TEST_CASE("tbb bias gradient: sums over samples and pixels") {
  Random r(Seed{17});
  for (int i = 0; i < 40; ++i) {
    Case c;
    c.node.op = Op::bias_gradient;
    const int channels = random_channels(r);
    c.x = Batch({channels, 1, 1 + r.below(90), 1 + r.below(90)}, 1 + r.below(3), r.chance(0.4f) ? 13 : 0, &r);
    c.y = Batch({channels, 1, 1, 1}, 1, 0, nullptr);
    Reference expected(channels);
    std::ptrdiff_t at = 0;
    c.x.for_each([&](const float& x) { expected.add(at++ % channels, double{x}); });
    const auto run_bias = [&](int threads) {
      run(c, threads, &tbb_kernels::bias_gradient<NativeIsa>, &tbb_kernels::bias_gradient_scratch_bytes<NativeIsa>);
      return c.y.values();
    };
    const std::vector<float> one = run_bias(1);
    check_close(one, expected, describe(c));
    CHECK(same_bits(one, run_bias(4)));
    c.node.accumulate = true;
    run_bias(2);
    for (double& g : expected.sum) g *= 2;
    check_close(c.y.values(), expected, "accumulated, " + describe(c));
  }
}
