// SPDX-License-Identifier: MIT
// Convolutions of the CUDA backend whose operands come in boxes: how pixels are cut, where chunks arrive, what barriers
// wait for, and whole convolutions through an emulated copy engine.
#include <set>

#include "convolution_checks.hpp"

using namespace ulna;
using namespace ulna::cuda;

namespace {

ConvolutionCase image(int in, int out, int height, int width, Window window = window2d(3, 1, 1)) {
  ConvolutionCase c{.window = window, .in = in, .out = out, .large = {1, height, width}};
  c.small = window_output(c.large, window);
  return c;
}

template <Arithmetic A = Arithmetic::bf16>
bool pays(const ConvolutionCase& c) {
  if (c.op == Op::convolution_weight_gradient)
    return plan_gradient_boxes(window_geometry(c.window, c.large, c.small, false), c.batch, c.in, c.out).pays;
  const bool transposed = c.op == Op::transposed_convolution;
  const WindowGeometry g =
      window_geometry(c.window, transposed ? c.small : c.large, transposed ? c.large : c.small, transposed);
  return plan_boxes<A>(g, c.batch, c.in, c.out).pays;
}

template <Arithmetic A = Arithmetic::bf16>
void check_in_boxes(const ConvolutionCase& c, Timing timing) {
  INFO(c.text());
  CHECK(pays<A>(c));
  check_case<A>(c, timing, Hopper::boxes);
}

}  // namespace

TEST_CASE("cuda boxes cover every pixel once") {
  Random r(Seed{51});
  for (int i = 0; i < 300; ++i) {
    const int width = 1 + r.below(1 << r.below(10)), height = 1 + r.below(1 << r.below(8)), batch = 1 + r.below(9);
    const BoxTiling t = BoxTiling::of(128, width, height, batch);
    CHECK(t.width() * t.height() * t.samples() == 128);
    std::set<std::tuple<int, int, int>> pixels;
    int inside = 0;
    for (int box = 0; box < t.boxes(); ++box)
      for (int row = 0; row < 128; ++row) {
        const auto first = t.place_of(box), at = t.pixel(row);
        CHECK((at.n * t.height() + at.y) * t.width() + at.x == row);  // as boxes arrive: x fastest
        if (first.x + at.x >= width || first.y + at.y >= height || first.n + at.n >= batch) continue;
        pixels.insert({first.n + at.n, first.y + at.y, first.x + at.x});
        ++inside;
      }
    CHECK(inside == width * height * batch);
    CHECK(pixels.size() == static_cast<std::size_t>(inside));
    for (int w = 0; w <= 7; ++w)  // none is better
      for (int h = 0; h <= 7 - w; ++h)
        CHECK(t.boxes() <= ceil_div(width, 1 << w) * ceil_div(height, 1 << h) * ceil_div(batch, 1 << (7 - w - h)));
  }
  const BoxTiling t = BoxTiling::of(128, 512, 512, 1);
  CHECK((t.width() * t.height() == 128 && t.width() <= 16 && t.height() <= 16));
}

TEST_CASE("cuda boxes: the engine puts chunks where products read them, as many bytes as are expected") {
  const auto check = []<class Tile>() {
    CHECK(Tile::ATile::bytes == 128 * TensorBoxes::row_bytes);
    CHECK(Tile::ATile::bytes + column_panels<Tile> * WarpgroupProduct<Tile>::panel_bytes == Tile::stage_bytes);
    for (int row = 0; row < Tile::rows; ++row)
      for (int chunk = 0; chunk < 8; ++chunk) {
        const int dense = row * 128 + chunk * 16;
        CHECK((dense ^ (dense >> 7 & 7) << 4) == Tile::ATile::offset(row, chunk));
      }
    for (int panel = 0; panel < column_panels<Tile>; ++panel)
      for (int term = 0; term < Tile::depth; ++term)
        for (int chunk = 0; chunk < 8; ++chunk) {
          const int dense = panel * WarpgroupProduct<Tile>::panel_bytes + term * 128 + chunk * 16;
          CHECK((dense ^ (dense >> 7 & 7) << 4) == Tile::BTile::offset(term, panel * 8 + chunk));
        }
    const BoxTiling t = BoxTiling::of(Tile::rows, 100, 50, 3);
    SlicedTensor<bf16> x({72, 1, 50, 100}, 3, 8, 8);
    const bf16 weight{};
    CHECK(boxes_of(x.view(), t).bytes() == Tile::ATile::bytes);
    CHECK(boxes_of_weight(&weight, 9, 72, 136, Tile::depth).bytes() == WarpgroupProduct<Tile>::panel_bytes);
  };
  check.operator()<typename TileOf<Arithmetic::bf16, Major::k, TileKind::warpgroup_large>::type>();
  check.operator()<typename TileOf<Arithmetic::bf16, Major::k, TileKind::warpgroup_medium>::type>();
  check.operator()<typename TileOf<Arithmetic::bf16, Major::k, TileKind::warpgroup_small>::type>();
}

TEST_CASE("cuda boxes of floats: weights lie along the summed axis, one box of them a step") {
  const auto check = []<class Tile>() {
    const float weight{};
    CHECK(boxes_of_weight(&weight, 9, 136, 72, Tile::columns).bytes() == Tile::BTile::bytes);
    CHECK(Tile::ATile::bytes + Tile::BTile::bytes == Tile::stage_bytes);
    for (int row = 0; row < Tile::columns; ++row)
      for (int chunk = 0; chunk < 8; ++chunk) {
        const int dense = row * 128 + chunk * 16;
        CHECK((dense ^ (dense >> 7 & 7) << 4) == Tile::BTile::offset(row, chunk));
      }
  };
  check.operator()<typename TileOf<Arithmetic::tf32, Major::k, TileKind::warpgroup_large>::type>();
  check.operator()<typename TileOf<Arithmetic::tf32, Major::k, TileKind::warpgroup_medium>::type>();
  check.operator()<typename TileOf<Arithmetic::tf32, Major::k, TileKind::warpgroup_small>::type>();
}

TEST_CASE("cuda boxes: which convolutions come in boxes") {
  CHECK(pays(image(64, 64, 512, 512)));
  CHECK(pays(image(1024, 1024, 32, 32)));
  CHECK(pays(image(192, 64, 64, 64, window2d(1))));
  CHECK(!pays(image(8, 64, 512, 512)));                      // few channels
  CHECK(!pays(image(96, 64, 512, 512)));                     // a quarter of two steps would be nothing
  CHECK(!pays(image(64, 16, 512, 512)));                     // few outputs
  CHECK(!pays(image(64, 64, 512, 512, window2d(3, 2, 1))));  // strided
  CHECK(!pays(image(64, 64, 9, 9)));                         // more than a quarter of a box would be outside
  ConvolutionCase up = image(128, 64, 128, 128, window2d(2, 2));
  up.op = Op::transposed_convolution;
  CHECK(pays(up));
  ConvolutionCase volume = image(64, 64, 16, 16);
  volume.small.depth = volume.large.depth = 4;
  CHECK(!pays(volume));
}

TEST_CASE("cuda convolution, boxes: padding, slices, batches, splits and phases") {
  ConvolutionCase cases[] = {image(64, 64, 8, 16),
                             image(64, 72, 16, 15),
                             image(128, 40, 15, 8, window2d(3, 1, 2, 2)),
                             image(120, 136, 8, 16, window2d(1)),
                             image(256, 64, 8, 16),
                             image(64, 64, 14, 16, window2d(2, 2))};
  cases[0].biased = true;
  cases[0].activation = Activation::relu;
  cases[1].before = 8;
  cases[1].after = 16;
  cases[2].batch = 2;
  cases[2].biased = true;
  cases[3].activation = Activation::gelu;
  cases[3].swapped = true;
  cases[4].batch = 3;
  cases[5].op = Op::transposed_convolution;
  cases[5].batch = 2;
  cases[5].biased = true;
  int i = 0;
  for (const ConvolutionCase& c : cases) {
    check_in_boxes(c, {.late_copies = i % 2 == 0});
    check_in_boxes(c, {.late_copies = i % 2 == 1});
    ++i;
  }
}

TEST_CASE("cuda convolution, boxes: max pools of the output, residuals, in place") {
  const auto check = []<Arithmetic A>() {
    ConvolutionCase cases[] = {image(64, 64, 16, 16), image(64, 72, 16, 15),
                               image(64, 40, 15, 16, window2d(3, 1, 2, 2)), image(256, 64, 8, 16)};
    cases[0].activation = Activation::relu;
    cases[1].batch = 3;
    cases[1].before = 8;
    cases[1].after = 16;
    cases[2].biased = true;
    cases[2].activation = Activation::leaky_relu;
    for (ConvolutionCase& c : cases) {  // the last one's sums are split
      c.pooled = true;
      check_in_boxes<A>(c, {});
      for (const ResidualSum order : {ResidualSum::before_activation, ResidualSum::after_activation}) {
        c.residual = order;
        c.in_place = !c.in_place;
        check_in_boxes<A>(c, {.late_copies = c.in_place});
        c.pooled = false;
        check_in_boxes<A>(c, {});
        c.pooled = true;
      }
    }
  };
  check.operator()<Arithmetic::bf16>();
  check.operator()<Arithmetic::tf32>();
}

TEST_CASE("cuda boxes are made of whole windows of 2x2 pixels, or of none") {
  for (const int width : {2, 16, 64, 512})
    for (const int height : {2, 6, 64, 512}) {
      const BoxTiling t = BoxTiling::of(128, width, height, 2);
      if (!t.holds_windows()) continue;
      std::set<int> rows;
      for (int i = 0; i < 32; ++i)
        for (const int row : {0, 1, t.width(), t.width() + 1}) {
          const auto at = t.pixel(t.row_of(t.window(i)) + row);
          const auto first = t.window(i);
          CHECK((at.x == first.x + row % t.width() && at.y == first.y + row / t.width() && at.n == first.n));
          rows.insert(t.row_of(at));
        }
      CHECK(rows.size() == 128);
    }
  CHECK(BoxTiling::of(128, 512, 512, 1).holds_windows());
}

TEST_CASE("cuda convolution, boxes: adjoints of stride 1, and tiles of 128 and 256 columns") {
  ConvolutionCase adjoint = image(64, 64, 8, 16);
  adjoint.op = Op::transposed_convolution;
  adjoint.swapped = true;
  check_in_boxes(adjoint, {});
  check_in_boxes(image(64, 128, 128, 128, window2d(1)), {.late_copies = false});
  check_in_boxes(image(64, 4096, 8, 128, window2d(1)), {});
}

TEST_CASE("cuda convolution, boxes of floats: padding, slices, batches, splits, phases, both orders of weights") {
  ConvolutionCase cases[] = {image(64, 64, 8, 16), image(32, 72, 16, 15), image(128, 40, 15, 8, window2d(3, 1, 2, 2)),
                             image(64, 64, 14, 16, window2d(2, 2)), image(96, 34, 8, 16)};
  cases[0].biased = true;
  cases[0].activation = Activation::relu;
  cases[1].before = 4;
  cases[1].after = 8;
  cases[1].batch = 2;
  cases[2].swapped = true;
  cases[3].op = Op::transposed_convolution;
  cases[3].batch = 2;
  cases[4].op = Op::transposed_convolution;
  cases[4].swapped = true;
  cases[4].activation = Activation::gelu;
  int i = 0;
  for (const ConvolutionCase& c : cases) {
    check_in_boxes<Arithmetic::tf32>(c, {.late_copies = i % 2 == 0});
    ConvolutionCase packed = c;
    packed.packed_before = !c.swapped;  // gradients, which read weights the other way, are not predicted
    check_in_boxes<Arithmetic::tf32>(packed, {.late_copies = i % 2 == 1});
    ++i;
  }
  check_in_boxes<Arithmetic::tf32>(image(32, 128, 128, 128, window2d(2, 1)), {});
  check_in_boxes<Arithmetic::tf32>(image(64, 4096, 8, 128, window2d(1)), {.late_copies = false});
}

TEST_CASE("cuda convolution, boxes: a weight that is packed before serves every batch") {
  for (const int batch : {1, 3}) {
    ConvolutionCase c = image(64, 64, 9, 9);  // pays for many samples, not for one
    c.packed_before = true;
    c.batch = batch;
    CHECK(!pays<Arithmetic::tf32>(c));
    check_case<Arithmetic::tf32>(c, {}, Hopper::boxes);
    check_case<Arithmetic::bf16>(c, {}, Hopper::boxes);
    c.out = 42;  // not in whole chunks: packed wherever it is multiplied
    check_case<Arithmetic::tf32>(c, {});
    c.in = 40;
    check_case<Arithmetic::tf32>(c, {}, Hopper::boxes);
  }
}

TEST_CASE("cuda weight gradient, boxes: padding, slices, batches, splits, taps that share a tile") {
  ConvolutionCase cases[] = {image(64, 64, 8, 16), image(128, 40, 8, 15, window2d(3, 1, 2, 2)),
                             image(64, 72, 16, 31, window2d(2)), image(192, 136, 4, 8, window2d(1)),
                             image(256, 256, 4, 4, window2d(1))};
  cases[0].batch = 3;
  cases[1].before = 8;
  cases[1].after = 16;
  cases[2].accumulate = true;
  cases[3].batch = 2;
  cases[3].swapped = true;
  cases[4].batch = 4;
  int i = 0;
  for (ConvolutionCase& c : cases) {
    c.op = Op::convolution_weight_gradient;
    check_in_boxes(c, {.late_copies = i % 2 == 0});
    check_in_boxes(c, {.late_copies = i % 2 == 1});
    ++i;
  }
  ConvolutionCase few = image(32, 64, 16, 16);
  few.op = Op::convolution_weight_gradient;
  CHECK(!pays(few));  // a run of 64 rows would belong to two taps
}

TEST_CASE("cuda boxes: a stage that is given back too early, or filled too early, is noticed") {
  using Tile = typename TileOf<Arithmetic::bf16, Major::k, TileKind::warpgroup_small>::type;
  SlicedTensor<bf16> x({64, 1, 8, 16}, 1, 0, 0);
  x.each([](bf16& v) { v = bf16(1.0f); });
  const EmulatedExecution on;
  const TensorMap map = tensor_map(on, boxes_of(x.view(), BoxTiling::of(128, 16, 8, 1)));
  SUBCASE("filled") {
    EmulatedBoxBlock<Tile> block(Timing{});
    block.start<Tile::stages>();
    block.expect(0, 128);
    CHECK(block.trouble() != "");
  }
  SUBCASE("more bytes than expected") {
    EmulatedBoxBlock<Tile> block(Timing{});
    block.start<Tile::stages>();
    block.await_empty(0, 1);
    block.expect(0, 128);
    block.copy_box(0, 0, map, {0, 0, 0, 0});
    block.await_full(0, 0);
    CHECK(block.trouble() != "");
  }
  SUBCASE("given back") {
    EmulatedBoxBlock<Tile> block(Timing{});
    block.start<Tile::stages>();
    block.await_empty(0, 1);
    block.expect(0, Tile::ATile::bytes);
    block.copy_box(0, 0, map, {0, 0, 0, 0});
    block.await_full(0, 0);
    typename EmulatedBoxBlock<Tile>::template PerThread<typename WarpgroupProduct<Tile>::Sums> sums;
    WarpgroupProduct<Tile>::add(block, sums, 0);
    block.release(0);
    CHECK(block.trouble() != "");
  }
}
