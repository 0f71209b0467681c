// SPDX-License-Identifier: MIT
// The gradient of a bf16 convolution's weight, in float: products of pairs of pixels.
#pragma once

#include <cassert>
#include <cstring>

#include "ulna/backend/tbb/parallel.hpp"
#include "ulna/backend/tbb/tile_products.hpp"
#include "ulna/backend/tbb/transpose.hpp"
#include "ulna/backend/tensor.hpp"

namespace ulna::tbb_kernels {

/// g[t][l][s] = sum over pixels p of large[p stride + t dilation - pad][l] small[p][s].
///
/// Rows of a register block are channels of `large`, packed as [channel][x] so that two neighbours are a pair; lanes
/// are channels of `small`, packed as [group of channels][pair of pixels][channel of the group][2]. Of a 1x1
/// convolution all pixels of all samples are one row. A task owns a block of both and a band of the pixels, which it
/// packs chunk by chunk with zero borders; the partial sums of bands are added in their order. All of it depends on the
/// shapes and the batch alone.
template <class Isa>
struct PairWeightGradientPlan {
  using Blocks = PairBlocks<Isa>;
  static constexpr int W = Isa::width;
  static constexpr int chunk_pixels = 512;
  static constexpr std::ptrdiff_t most_sums = 76'000;         // of one task, in a 1 MB L2 cache beside the chunk
  static constexpr std::ptrdiff_t most_partials = 4'000'000;  // of all bands

  Window window;
  Shape large, small;
  int batch, taps;
  int row_block, lane_block;
  int chunk_width, chunk_height, chunks_x, chunks_y;
  int pairs;         ///< of pixels in a row of the chunk, in whole granules
  int large_height;  ///< rows of large under a chunk
  int residues;      ///< pixels of large that a stride apart are neighbours when packed
  int plane;         ///< packed pixels of one channel and residue
  int bands;
  bool joined;  ///< all pixels are one row

  explicit PairWeightGradientPlan(const Call<bf16>& call)
      : window(call.node->window),
        large(call.input[0].shape),
        small(call.input[1].shape),
        batch(call.batch),
        taps(window.taps()) {
    joined = is_product(call);
    if (joined) join_rows();
    const int most_lanes = taps == 1 ? 256 : 64;  // more lanes pay for packing the rows
    lane_block = std::min((small.channels + W - 1) / W * W, most_lanes);
    const std::ptrdiff_t fitting = most_sums / (std::ptrdiff_t{taps} * lane_block);
    const int most_rows = static_cast<int>(std::clamp<std::ptrdiff_t>(fitting, 16, taps == 1 ? 128 : 64));
    row_block = std::min(large.channels, most_rows / 16 * 16);
    plan_chunks();
    plan_bands();
  }

  /// Lanes that are packed side by side from lane l of a block on, the first of its group: those of a register block.
  int group_lanes(int l) const { return std::min(Blocks::most_vectors * W, lane_block - l); }
  int row_blocks() const { return (large.channels + row_block - 1) / row_block; }
  int lane_blocks() const { return (small.channels + lane_block - 1) / lane_block; }
  int chunks() const { return batch * chunks_y * chunks_x; }
  /// Rows that kernels may read and write.
  int padded_rows() const { return Blocks::pads_rows ? (row_block + 31) / 32 * 32 : row_block; }
  std::ptrdiff_t large_row() const { return std::ptrdiff_t{padded_rows()} * residues * plane; }
  std::ptrdiff_t small_row() const { return std::ptrdiff_t{pairs} * lane_block * 2; }
  std::ptrdiff_t gradient_size() const { return std::ptrdiff_t{taps} * large.channels * small.channels; }

  std::size_t sum_bytes() const { return bytes(std::ptrdiff_t{taps} * padded_rows() * lane_block, sizeof(float)); }
  std::size_t large_bytes() const { return bytes(large_height * large_row() + 2 * W, sizeof(bf16)); }
  std::size_t small_bytes() const { return bytes(chunk_height * small_row(), sizeof(bf16)); }
  std::size_t table_bytes() const { return bytes(chunk_height, sizeof(std::ptrdiff_t)); }
  std::size_t thread_bytes() const { return sum_bytes() + large_bytes() + small_bytes() + 2 * table_bytes(); }
  std::size_t band_bytes() const { return bands > 1 ? bytes(gradient_size(), sizeof(float)) : 0; }

 private:
  static std::size_t bytes(std::ptrdiff_t n, std::size_t each) {
    return aligned_bytes(static_cast<std::size_t>(n) * each);
  }

  /// Whether every pixel of `large` meets the same pixel of `small`, and pixels of all samples are equally far apart.
  bool is_product(const Call<bf16>& call) const {
    const auto uniform = [](const Tensor<bf16>& x) {
      return x.batch <= 1 || x.sample_stride == x.pixels() * x.pixel_stride;
    };
    return taps == 1 && window.stride == Extent{1, 1, 1} && window.pad_before == Extent{0, 0, 0} &&
           large.extent() == small.extent() && uniform(call.input[0]) && uniform(call.input[1]);
  }
  void join_rows() {
    const Extent row{1, 1, static_cast<int>(small.pixels()) * batch};
    large = shape_of(large.channels, row);
    small = shape_of(small.channels, row);
    batch = 1;
  }

  void plan_chunks() {
    const int most_width = joined ? chunk_pixels : 64;
    chunks_x = (small.width + most_width - 1) / most_width;
    chunk_width = (small.width + chunks_x - 1) / chunks_x;
    constexpr int granule = 2 * Blocks::granule;
    pairs = (chunk_width + granule - 1) / granule * Blocks::granule;
    const int most_height = std::max(chunk_pixels / chunk_width, 1);
    chunks_y = (small.height + most_height - 1) / most_height;
    chunk_height = (small.height + chunks_y - 1) / chunks_y;
    large_height = (chunk_height - 1) * window.stride.height + span_of(window.kernel.height, window.dilation.height);
    const int reach = span_of(window.kernel.width, window.dilation.width) - 1;
    residues = std::min(window.stride.width, reach + 1);
    // room for whole vectors behind the row, and an odd number of them against conflicts between channels
    plane = ((2 * pairs + reach / window.stride.width + 2 * W - 1) / W | 1) * W;
  }

  void plan_bands() {
    const std::ptrdiff_t pixels = batch * static_cast<std::ptrdiff_t>(small.pixels());
    const std::ptrdiff_t others = std::ptrdiff_t{row_blocks()} * lane_blocks();
    const std::ptrdiff_t wanted = (64 + others - 1) / others;
    const std::ptrdiff_t holding = most_partials / gradient_size();
    const int most = static_cast<int>(std::clamp<std::ptrdiff_t>(std::min(wanted, holding), 1, chunks()));
    bands = fixed_parts(pixels, chunk_pixels, most);
  }
};

namespace detail {

/// One thread's work on a (band, row block, lane block).
template <class Isa>
class PairWeightGradientTask {
  using Plan = PairWeightGradientPlan<Isa>;
  using Blocks = PairBlocks<Isa>;
  using V = FloatVec<Isa>;
  static constexpr int W = Isa::width;

 public:
  PairWeightGradientTask(const Call<bf16>& call, const Plan& plan, std::byte* scratch) : call_(call), plan_(plan) {
    sums_ = reinterpret_cast<float*>(scratch);
    large_ = reinterpret_cast<bf16*>(scratch += plan.sum_bytes());
    small_ = reinterpret_cast<bf16*>(scratch += plan.large_bytes());
    large_offset_ = reinterpret_cast<std::ptrdiff_t*>(scratch += plan.small_bytes());
    small_offset_ = reinterpret_cast<std::ptrdiff_t*>(scratch += plan.table_bytes());
  }

  /// Adds this task's part to `target` ([tap][in][out], dense), or overwrites it.
  void run(int band, int row_block, int lane_block, float* target, bool accumulate) {
    const typename Blocks::Setup setup;
    row0_ = row_block * plan_.row_block;
    rows_ = std::min(plan_.row_block, plan_.large.channels - row0_);
    lane0_ = lane_block * plan_.lane_block;
    lanes_ = std::min(plan_.lane_block, plan_.small.channels - lane0_);
    const Range chunks = part_of(plan_.chunks(), plan_.bands, band);
    for (std::ptrdiff_t chunk = chunks.begin; chunk < chunks.end; ++chunk) {
      locate(static_cast<int>(chunk));
      plan_.joined ? pack_product() : pack_large();
      for (int y = 0; y < height_; ++y) pack_small(y);
      multiply(chunk > chunks.begin);
    }
    write(target, accumulate);
  }

 private:
  void locate(int chunk) {
    x0_ = chunk % plan_.chunks_x * plan_.chunk_width;
    y0_ = chunk / plan_.chunks_x % plan_.chunks_y * plan_.chunk_height;
    sample_ = chunk / plan_.chunks_x / plan_.chunks_y;
    width_ = std::min(plan_.chunk_width, plan_.small.width - x0_);
    height_ = std::min(plan_.chunk_height, plan_.small.height - y0_);
  }

  /// A row of small, zeros behind the last pixel and channel.
  void pack_small(int y) {
    constexpr int most = Blocks::most_vectors * W;
    const Tensor<bf16>& in = call_.input[1];
    const bf16* from = in.row(sample_, y0_ + y) + x0_ * in.pixel_stride + lane0_;
    bf16* const row = small_ + y * plan_.small_row();
    constexpr int ahead = 8;  // pixels: they lie in pages of their own
    for (int x = 0; x < 2 * plan_.pairs; x += 2) {
      for (int l = 0; l < lanes_ && x + ahead + 1 < width_; l += 32) {
        prefetch_near(from + (x + ahead) * in.pixel_stride + l);
        prefetch_near(from + (x + ahead + 1) * in.pixel_stride + l);
      }
      for (int group = 0; group < plan_.lane_block; group += most) {
        const int lanes = plan_.group_lanes(group);
        bf16* to = row + group_offset(group) + std::ptrdiff_t{x} * lanes;
        for (int l = group; l < group + lanes; l += W, to += 2 * W)
          PairVec<Isa>::join_exact(lanes_of(from, x, l), lanes_of(from, x + 1, l)).store(to);
      }
    }
  }
  std::ptrdiff_t group_offset(int l) const { return std::ptrdiff_t{2} * plan_.pairs * l; }
  [[gnu::always_inline]] V lanes_of(const bf16* from, int x, int l) const {
    const int n = lanes_ - l;
    if (x >= width_ || n <= 0) return V::zero();
    const bf16* at = from + x * call_.input[1].pixel_stride + l;
    return n >= W ? V::load(at) : V::load_partial(at, n);
  }

  /// The pixels of a product's `large` as [channel][x]: pairs of pixels, transposed.
  void pack_product() {
    const Tensor<bf16>& in = call_.input[0];
    const bf16* from = in.pixel(0, x0_) + row0_;
    const auto channels_of = [&](int x, int c) __attribute__((always_inline)) {
      const int n = rows_ - c;
      const bf16* at = from + x * in.pixel_stride + c;
      return x >= width_ ? V::zero() : n >= W ? V::load(at) : V::load_partial(at, n);
    };
    for (int c = 0; c < rows_; c += W)
      for (int x = 0; x < 2 * plan_.pairs; x += 2 * W) {
        V square[W];
        for (int i = 0; i < W; ++i)
          square[i] = {
              (typename V::Native)PairVec<Isa>::join_exact(channels_of(x + 2 * i, c), channels_of(x + 2 * i + 1, c))
                  .pairs};
        transpose_square(square);
        bf16* to = large_ + std::ptrdiff_t{c} * plan_.plane + x;
        for (int r = 0; r < std::min(W, rows_ - c); ++r, to += plan_.plane)
          std::memcpy(static_cast<void*>(to), &square[r].v, sizeof square[r].v);
      }
  }

  /// The pixels of `large` under the windows of the chunk as [y][channel][residue][x], zeros outside the image.
  void pack_large() {
    const Window& w = plan_.window;
    const Tensor<bf16>& in = call_.input[0];
    const int step = w.stride.width;
    const std::ptrdiff_t channel = std::ptrdiff_t{plan_.residues} * plan_.plane;
    const int first_y = y0_ * w.stride.height - w.pad_before.height;
    const int height = (height_ - 1) * w.stride.height + span_of(w.kernel.height, w.dilation.height);
    for (int y = 0; y < height; ++y) {
      const int iy = first_y + y;
      const bool outside = iy < 0 || iy >= plan_.large.height;
      for (int residue = 0; residue < plan_.residues; ++residue) {
        bf16* to = large_ + y * plan_.large_row() + residue * plan_.plane;
        const int first = x0_ * step - w.pad_before.width + residue;  // the pixel at the start of this residue's row
        const int before = first < 0 ? (-first + step - 1) / step : 0;
        const int behind = first < plan_.large.width ? (plan_.large.width - first + step - 1) / step : 0;
        const int begin = std::min(before, plan_.plane - W);
        const int end = outside ? begin : std::clamp(behind, begin, plan_.plane - W);
        if (begin < end)
          transpose<Isa>(in.row(sample_, iy) + (first + std::ptrdiff_t{begin} * step) * in.pixel_stride + row0_,
                         step * in.pixel_stride, end - begin, rows_, to + begin, channel);
        for (int c = 0; c < rows_; ++c) {
          clear(to + c * channel, begin);
          clear(to + c * channel + end, plan_.plane - end);
        }
      }
    }
  }
  static void clear(bf16* to, int count) {
    std::memset(static_cast<void*>(to), 0, static_cast<std::size_t>(count) * sizeof(bf16));
  }

  /// sums[tap][row][lane] (+)= the products of the chunk's pixels.
  void multiply(bool accumulate) {
    const Window& w = plan_.window;
    for (int y = 0; y < height_; ++y) {
      large_offset_[y] = y * w.stride.height * plan_.large_row();
      small_offset_[y] = y * plan_.small_row();
    }
    PairProducts p;
    p.a_offset = large_offset_;
    p.b_offset = small_offset_;
    p.a_row = std::ptrdiff_t{plan_.residues} * plan_.plane;
    p.outer = height_;
    p.pairs = plan_.pairs;
    p.sum_step = plan_.lane_block;
    p.accumulate = accumulate;
    for (int tap = 0; tap < plan_.taps; ++tap) {
      const int column = tap % w.kernel.width * w.dilation.width;
      const bf16* a = large_ + tap / w.kernel.width * w.dilation.height * plan_.large_row() +
                      std::ptrdiff_t{column % w.stride.width} * plan_.plane + column / w.stride.width;
      for (int l = 0; l < lanes_;) {
        const int vectors = Blocks::widest((lanes_ - l + W - 1) / W);
        p.b = small_ + group_offset(l);
        p.b_step = 2 * plan_.group_lanes(l);
        for (int r = 0; r < rows_;) {
          const int height = Blocks::next_rows(vectors, rows_ - r);
          p.a = a + r * p.a_row;
          p.sum = sums_ + (std::ptrdiff_t{tap} * plan_.padded_rows() + r) * plan_.lane_block + l;
          Blocks::kernel(vectors, height)(p);
          r += height;
        }
        l += vectors * W;
      }
    }
  }

  /// The sums to where the gradient keeps them.
  void write(float* target, bool accumulate) const {
    const bool swapped = call_.node->swap_channels;
    const std::ptrdiff_t tap_size = std::ptrdiff_t{plan_.large.channels} * plan_.small.channels;
    const std::ptrdiff_t row_step = swapped ? 1 : plan_.small.channels;
    const std::ptrdiff_t lane_step = swapped ? plan_.large.channels : 1;
    for (int tap = 0; tap < plan_.taps; ++tap)
      for (int r = 0; r < rows_; ++r) {
        float* to = target + tap * tap_size + (row0_ + r) * row_step + lane0_ * lane_step;
        const float* from = sums_ + (std::ptrdiff_t{tap} * plan_.padded_rows() + r) * plan_.lane_block;
        if (swapped)
          for (int l = 0; l < lanes_; ++l) to[l * lane_step] = accumulate ? to[l * lane_step] + from[l] : from[l];
        else
          sum_partials<Isa>(from, 0, 1, to, lanes_, accumulate);
      }
  }

  const Call<bf16>& call_;
  const Plan& plan_;
  float* sums_;
  bf16* large_;
  bf16* small_;
  std::ptrdiff_t* large_offset_;
  std::ptrdiff_t* small_offset_;
  int row0_ = 0, rows_ = 0, lane0_ = 0, lanes_ = 0;
  int sample_ = 0, x0_ = 0, y0_ = 0, width_ = 0, height_ = 0;
};

}  // namespace detail

/// Op::convolution_weight_gradient of bf16, both storage orders (swap_channels). The gradient is float.
template <class Isa>
void pair_weight_gradient(const Call<bf16>& call) {
  assert(call.input[0].shape.depth == 1 && call.input[1].shape.depth == 1 && call.node->window.kernel.depth == 1);
  const PairWeightGradientPlan<Isa> plan(call);
  float* gradient = held_as<float>(call.output).data;
  const int blocks = plan.row_blocks() * plan.lane_blocks();
  const std::size_t partial_bytes = plan.band_bytes() * static_cast<std::size_t>(plan.bands);
  const auto partial = [&](int band) { return scratch_piece<float>(call.scratch, 0, plan.band_bytes(), band); };
  parallel_tasks<Isa>(plan.bands * blocks, [&](int task) {
    std::byte* scratch = scratch_piece<std::byte>(call.scratch, partial_bytes, plan.thread_bytes(), thread_slot());
    detail::PairWeightGradientTask<Isa> worker(call, plan, scratch);
    const int band = task / blocks;
    const bool direct = plan.bands == 1;
    worker.run(band, task % blocks / plan.lane_blocks(), task % plan.lane_blocks(), direct ? gradient : partial(band),
               direct && call.node->accumulate);
  });
  if (plan.bands == 1) return;
  const int parts = fixed_parts(plan.gradient_size(), 4096, 64);
  parallel_tasks<Isa>(parts, [&](int part) {
    const Range range = part_of(plan.gradient_size(), parts, part);
    sum_partials<Isa>(partial(0) + range.begin, static_cast<std::ptrdiff_t>(plan.band_bytes() / sizeof(float)),
                      plan.bands, gradient + range.begin, range.size(), call.node->accumulate);
  });
}

template <class Isa>
std::size_t pair_weight_gradient_scratch_bytes(const Call<bf16>& call, int threads) {
  const PairWeightGradientPlan<Isa> plan(call);
  return plan.band_bytes() * static_cast<std::size_t>(plan.bands) +
         plan.thread_bytes() * static_cast<std::size_t>(threads);
}

}  // namespace ulna::tbb_kernels
