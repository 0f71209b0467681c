// SPDX-License-Identifier: MIT
// The weight gradient of a 3x3 convolution of stride 1 by the adjoint of Winograd's F(4x4, 3x3): tiles of the input and
// of the output gradient to 36 points each, for each point one sum over tiles of outer products between their channels,
// and these sums back to nine taps.
//
// Tiles are dealt to a number of bands that the shapes decide; each band's sums are chains over its tiles in order, and
// the bands' gradients are added in order. So the number of threads does not matter.
#pragma once

#include <cassert>

#include "ulna/backend/tbb/winograd_plan.hpp"
#include "ulna/backend/tbb/winograd_tile.hpp"

namespace ulna::winograd {

/// A task takes a band of tiles, a block of the gradient's slower channels ("rows") and a block of its faster ones
/// ("lanes"). Unswapped, rows are channels of the larger map, which the window slides over, and lanes of the smaller.
template <class Isa>
struct WeightGradientPlan {
  static constexpr int W = Isa::width;
  static constexpr int most_rows = 64;
  static constexpr int most_lanes = 128;
  static constexpr int most_tiles = 24;                        ///< more than these leave the second-level cache
  static constexpr int least_band = 96;                        ///< tiles that pay for one more set of sums
  static constexpr std::ptrdiff_t most_partials = 16'000'000;  ///< floats

  Grid<F4> grid;
  bool swapped;
  int batch, rows, lanes;
  int row_block, row_stride, lane_block;  ///< strides and lane block in whole vectors
  int tile_block, bands;
  std::ptrdiff_t row_plane, lane_plane, sum_plane;

  template <class T>
  explicit WeightGradientPlan(const Call<T>& call) {
    const Shape large = call.input[0].shape;
    const Shape small = call.input[1].shape;
    const Window& w = call.node->window;
    grid = {large, small, -w.pad_before.height, -w.pad_before.width};
    swapped = call.node->swap_channels;
    batch = call.batch;
    rows = swapped ? small.channels : large.channels;
    lanes = swapped ? large.channels : small.channels;
    row_block = std::min(rows, most_rows);
    row_stride = (row_block + W - 1) / W * W;
    lane_block = std::min((lanes + W - 1) / W * W, most_lanes);
    const int pieces = row_blocks() * ((lanes + 63) / 64);  // enough bands to keep 64 threads busy with them
    const std::ptrdiff_t wanted = (64 + pieces - 1) / pieces;
    const std::ptrdiff_t holding = most_partials / gradient_size();
    bands = tbb_kernels::fixed_parts(
        tiles(), least_band,
        static_cast<int>(std::clamp<std::ptrdiff_t>(wanted, 1, std::max<std::ptrdiff_t>(holding, 1))));
    tile_block = static_cast<int>(std::min<std::ptrdiff_t>(tiles(), most_tiles));
    row_plane = plane_floats(std::ptrdiff_t{tile_block} * row_stride);
    lane_plane = plane_floats(std::ptrdiff_t{tile_block} * lane_block);
    sum_plane = plane_floats(std::ptrdiff_t{row_block} * lane_block);
  }

  std::ptrdiff_t tiles() const { return grid.tiles(batch); }
  std::ptrdiff_t tap_size() const { return std::ptrdiff_t{rows} * lanes; }
  std::ptrdiff_t gradient_size() const { return taps * taps * tap_size(); }
  int row_blocks() const { return (rows + row_block - 1) / row_block; }
  int lane_blocks() const { return (lanes + lane_block - 1) / lane_block; }
  int blocks() const { return row_blocks() * lane_blocks(); }

  std::size_t rows_bytes() const { return floats(F4::products * row_plane); }
  std::size_t lanes_bytes() const { return floats(F4::products * lane_plane); }
  std::size_t sum_bytes() const { return floats(F4::products * sum_plane); }
  std::size_t patch_bytes() const { return floats(std::ptrdiff_t{F4::products} * std::max(row_stride, lane_block)); }
  std::size_t thread_bytes() const { return rows_bytes() + lanes_bytes() + sum_bytes() + patch_bytes(); }
  std::size_t band_bytes() const { return bands > 1 ? floats(gradient_size()) : 0; }
  std::size_t partial_bytes() const { return band_bytes() * static_cast<std::size_t>(bands); }

 private:
  static std::size_t floats(std::ptrdiff_t n) {
    return tbb_kernels::aligned_bytes(static_cast<std::size_t>(n) * sizeof(float));
  }
};

/// One thread's work on a (band, row block, lane block).
template <class Isa, class T>
class WeightGradientTask {
  using V = FloatVec<Isa>;
  using Blocks = tbb_kernels::RegisterBlocks<Isa>;
  static constexpr int W = Isa::width;

 public:
  WeightGradientTask(const Call<T>& call, const WeightGradientPlan<Isa>& plan, std::byte* scratch)
      : call_(call), plan_(plan) {
    a_ = reinterpret_cast<float*>(scratch);
    b_ = reinterpret_cast<float*>(scratch += plan.rows_bytes());
    sums_ = reinterpret_cast<float*>(scratch += plan.lanes_bytes());
    patch_ = reinterpret_cast<float*>(scratch += plan.sum_bytes());
  }

  /// Adds this task's part to `target` ([tap][row][lane], dense), or overwrites it.
  void run(int band, int row_block, int lane_block, float* target, bool accumulate) {
    row0_ = row_block * plan_.row_block;
    rows_ = std::min(plan_.row_block, plan_.rows - row0_);
    lane0_ = lane_block * plan_.lane_block;
    lanes_ = std::min(plan_.lane_block, plan_.lanes - lane0_);
    const tbb_kernels::Range tiles = tbb_kernels::part_of(plan_.tiles(), plan_.bands, band);
    const auto count_from = [&](std::ptrdiff_t first) {
      return static_cast<int>(std::clamp<std::ptrdiff_t>(tiles.end - first, 0, plan_.tile_block));
    };
    for (std::ptrdiff_t first = tiles.begin; first < tiles.end; first += plan_.tile_block) {
      const std::ptrdiff_t next = first + plan_.tile_block;
      transform_tiles(first, count_from(first));
      multiply(count_from(first), first > tiles.begin, next, count_from(next));
    }
    write(target, accumulate);
  }

 private:
  /// The transformed tiles of one map.
  struct Operand {
    float* tiles;
    int first_channel, channels, stride;
    std::ptrdiff_t plane;
  };
  Operand rows() const { return {a_, row0_, rows_, plan_.row_stride, plan_.row_plane}; }
  Operand lanes() const { return {b_, lane0_, lanes_, plan_.lane_block, plan_.lane_plane}; }
  Operand of_large() const { return plan_.swapped ? lanes() : rows(); }
  Operand of_small() const { return plan_.swapped ? rows() : lanes(); }

  TileReader<Isa, F4::InputLine, T> large() const {
    return {call_.input[0], plan_.grid.low_y, plan_.grid.low_x, patch_, of_large().stride};
  }
  TileReader<Isa, F4::OutputGradientLine, T> small() const { return {call_.input[1], 0, 0, patch_, of_small().stride}; }

  /// One map after the other: the 36 planes of both are more pages than a processor has at hand.
  void transform_tiles(std::ptrdiff_t first, int count) {
    transform_map(large(), of_large(), first, count);
    transform_map(small(), of_small(), first, count);
  }
  void transform_map(const auto& map, const Operand& to, std::ptrdiff_t first, int count) {
    plan_.grid.for_each_tile(first, count, [&](int t, int sample, int row, int column) {
      map.run(sample, row, column, to.first_channel, to.channels, to.tiles + std::ptrdiff_t{t} * to.stride, to.plane);
    });
  }
  /// sums[point][row][lane] (+)= the outer products of the tiles' channels. Asks for the `next_count` tiles from `next`
  /// on meanwhile.
  void multiply(int count, bool accumulate, std::ptrdiff_t next, int next_count) {
    static constexpr std::ptrdiff_t none = 0;
    tbb_kernels::OuterProducts p;
    p.a_offset = &none;
    p.b_offset = &none;
    p.a_step = plan_.row_stride;
    p.b_step = plan_.lane_block;
    p.outer = 1;
    p.inner = count;
    p.sum_step = plan_.lane_block;
    p.accumulate = accumulate;
    TilesAhead ahead_of_large(large(), plan_.grid, next, next_count, of_large().first_channel, of_large().channels);
    TilesAhead ahead_of_small(small(), plan_.grid, next, next_count, of_small().first_channel, of_small().channels);
    const auto area = static_cast<float>((lanes_ + W - 1) / W * W * rows_);
    for (int point = 0; point < F4::products; ++point) {
      for (int l = 0; l < lanes_;) {
        const int vectors = Blocks::widest((lanes_ - l + W - 1) / W);
        for (int r = 0; r < rows_;) {
          const int height = Blocks::next_rows(vectors, rows_ - r);
          p.a = a_ + point * plan_.row_plane + r;
          p.b = b_ + point * plan_.lane_plane + l;
          p.sum = sums_ + point * plan_.sum_plane + std::ptrdiff_t{r} * plan_.lane_block + l;
          Blocks::kernel(vectors, height)(p);
          r += height;
          const float done =
              (static_cast<float>(point) + static_cast<float>(l * rows_ + r * vectors * W) / area) / F4::products;
          ahead_of_large.until(done);
          ahead_of_small.until(done);
        }
        l += vectors * W;
      }
    }
  }

  void write(float* target, bool accumulate) const {
    for (int r = 0; r < rows_; ++r)
      for (int l = 0; l < lanes_; l += W) {
        const float* from = sums_ + std::ptrdiff_t{r} * plan_.lane_block + l;
        float* to = target + std::ptrdiff_t{row0_ + r} * plan_.lanes + lane0_ + l;
        const int valid = std::min(lanes_ - l, W);
        transform<F4::WeightGradientLine, V>(
            [&](int i, int j) { return V::load(from + (i * F4::points + j) * plan_.sum_plane); },
            [&](int i, int j, V v) { add(to + (i * taps + j) * plan_.tap_size(), v, valid, accumulate); });
      }
  }

  [[gnu::always_inline]] static inline void add(float* to, V v, int valid, bool accumulate) {
    if (valid == W) {
      if (accumulate) v = v + V::load(to);
      v.store(to);
    } else {
      if (accumulate) v = v + V::load_partial(to, valid);
      v.store_partial(to, valid);
    }
  }

  const Call<T>& call_;
  const WeightGradientPlan<Isa>& plan_;
  float* a_;
  float* b_;
  float* sums_;
  float* patch_;
  int row0_ = 0, rows_ = 0, lane0_ = 0, lanes_ = 0;
};

/// Op::convolution_weight_gradient where its window and channels suit, both storage orders (swap_channels).
template <class Isa, class T = float>
void weight_gradient(const Call<T>& call) {
  assert(suits(call.node->window, call.input[0].shape.channels, call.input[1].shape.channels) &&
         call.input[0].shape.depth == 1);
  const WeightGradientPlan<Isa> plan(call);
  const int blocks = plan.blocks();
  float* gradient = held_as<float>(call.output).data;
  const auto partial = [&](int band) {
    return tbb_kernels::scratch_piece<float>(call.scratch, 0, plan.band_bytes(), band);
  };
  tbb_kernels::parallel_tasks<Isa>(plan.bands * blocks, [&](int task) {
    auto* scratch = tbb_kernels::scratch_piece<std::byte>(call.scratch, plan.partial_bytes(), plan.thread_bytes(),
                                                          tbb_kernels::thread_slot());
    WeightGradientTask<Isa, T> worker(call, plan, scratch);
    const int band = task / blocks;
    const bool only = plan.bands == 1;
    worker.run(band, task % blocks / plan.lane_blocks(), task % plan.lane_blocks(), only ? gradient : partial(band),
               only && call.node->accumulate);
  });
  if (plan.bands == 1) return;
  const int parts = tbb_kernels::fixed_parts(plan.gradient_size(), 4096, 64);
  tbb_kernels::parallel_tasks<Isa>(parts, [&](int part) {
    const tbb_kernels::Range range = tbb_kernels::part_of(plan.gradient_size(), parts, part);
    tbb_kernels::sum_partials<Isa>(partial(0) + range.begin,
                                   static_cast<std::ptrdiff_t>(plan.band_bytes() / sizeof(float)), plan.bands,
                                   gradient + range.begin, range.size(), call.node->accumulate);
  });
}

template <class Isa, class T = float>
std::size_t weight_gradient_scratch_bytes(const Call<T>& call, int threads) {
  const WeightGradientPlan<Isa> plan(call);
  return plan.partial_bytes() + plan.thread_bytes() * static_cast<std::size_t>(threads);
}

}  // namespace ulna::winograd
