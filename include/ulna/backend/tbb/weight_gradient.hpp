// SPDX-License-Identifier: MIT
// The gradients of a convolution's weight and bias.
#pragma once

#include <cassert>

#include "ulna/backend/tbb/weight_gradient_plan.hpp"

namespace ulna::tbb_kernels {

namespace detail {

/// One thread's work on a (band, row block, lane block).
template <class Isa>
class WeightGradientTask {
  using V = FloatVec<Isa>;
  using Blocks = RegisterBlocks<Isa>;
  static constexpr int W = Isa::width;

 public:
  WeightGradientTask(const Call<float>& call, const WeightGradientPlan<Isa>& plan, std::byte* scratch)
      : call_(call), plan_(plan) {
    sums_ = reinterpret_cast<float*>(scratch);
    large_ = reinterpret_cast<float*>(scratch += plan.sum_bytes());
    unfolded_ = reinterpret_cast<float*>(scratch += plan.large_bytes());
    small_ = reinterpret_cast<float*>(scratch += plan.unfolded_bytes());
    row_offset_ = reinterpret_cast<std::ptrdiff_t*>(scratch += plan.small_bytes());
    lane_offset_ = reinterpret_cast<std::ptrdiff_t*>(scratch += plan.table_bytes());
  }

  /// Adds this task's part to `target` ([tap][in][out], dense), or overwrites it.
  void run(int band, int row_block, int lane_block, float* target, bool accumulate) {
    row0_ = row_block * plan_.row_block;
    rows_ = std::min(plan_.row_block, plan_.rows - row0_);
    lane0_ = lane_block * plan_.lane_block;
    lanes_ = std::min(plan_.lane_block, plan_.lanes - lane0_);
    const Range chunks = part_of(plan_.chunks(), plan_.bands, band);
    for (std::ptrdiff_t chunk = chunks.begin; chunk < chunks.end; ++chunk) {
      locate(static_cast<int>(chunk));
      pack_large();
      if (plan_.unfolded) unfold_large();
      pack_small();
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

  /// Copies `valid` channels and zeros up to `padded`.
  static void copy(const float* from, float* to, int valid, int padded) {
    int c = 0;
    for (; c + W <= valid; c += W) V::load(from + c).store(to + c);
    for (; c < valid; ++c) to[c] = from[c];
    for (; c < padded; ++c) to[c] = 0.0f;
  }
  static void clear(float* to, std::ptrdiff_t count) {
    for (std::ptrdiff_t i = 0; i < count; ++i) to[i] = 0.0f;
  }

  /// Packs `valid` channels of consecutive pixels, with zeros up to `padded`.
  static void copy_pixels(const float* from, std::ptrdiff_t from_step, float* to, int pixels, int valid, int padded) {
    if (from_step == valid && valid == padded) return copy(from, to, pixels * valid, pixels * valid);
    for (int x = 0; x < pixels; ++x, from += from_step, to += padded) copy(from, to, valid, padded);
  }

  void pack_small() {
    const Tensor<float>& in = call_.input[1];
    const int c0 = plan_.rows_are_large ? lane0_ : row0_;
    const int valid = plan_.rows_are_large ? lanes_ : rows_;
    const std::ptrdiff_t row = std::ptrdiff_t{width_} * plan_.small_channels;
    for (int y = 0; y < height_; ++y)
      copy_pixels(in.row(sample_, y0_ + y) + x0_ * in.pixel_stride + c0, in.pixel_stride, small_ + y * row, width_,
                  valid, plan_.small_channels);
  }

  /// The pixels of `large` under the windows of the chunk, zeros outside the image.
  void pack_large() {
    const Tensor<float>& in = call_.input[0];
    const Window& w = plan_.window;
    const int c0 = plan_.rows_are_large ? row0_ : lane0_;
    const int valid = plan_.unfolded ? plan_.large_channels : plan_.rows_are_large ? rows_ : lanes_;
    const int padded = plan_.large_channels;
    const int first_x = x0_ * w.stride.width - w.pad_before.width;
    const int first_y = y0_ * w.stride.height - w.pad_before.height;
    const int height = (height_ - 1) * w.stride.height + span_of(w.kernel.height, w.dilation.height);
    const int begin = std::clamp(-first_x, 0, plan_.large_width);
    const int end = std::clamp(in.shape.width - first_x, begin, plan_.large_width);
    for (int y = 0; y < height; ++y) {
      float* to = large_ + std::ptrdiff_t{y} * plan_.large_width * padded;
      const int iy = first_y + y;
      if (iy < 0 || iy >= in.shape.height) {
        clear(to, std::ptrdiff_t{plan_.large_width} * padded);
        continue;
      }
      clear(to, std::ptrdiff_t{begin} * padded);
      copy_pixels(in.row(sample_, iy) + (first_x + begin) * in.pixel_stride + c0, in.pixel_stride,
                  to + std::ptrdiff_t{begin} * padded, end - begin, valid, padded);
      clear(to + std::ptrdiff_t{end} * padded, std::ptrdiff_t{plan_.large_width - end} * padded);
    }
  }

  /// Each pixel of the chunk with the (tap, channel) pairs that it meets, as if they were channels.
  void unfold_large() {
    const Window& w = plan_.window;
    const int channels = plan_.large_channels;
    const bool joined = w.dilation.width == 1;  // the taps of a kernel row are consecutive in the packed chunk
    const int run = joined ? w.kernel.width * channels : channels;
    const int runs = joined ? 1 : w.kernel.width;
    const std::ptrdiff_t run_step = std::ptrdiff_t{w.dilation.width} * channels;
    const std::ptrdiff_t large_row = std::ptrdiff_t{plan_.large_width} * channels;
    const std::ptrdiff_t from_step = std::ptrdiff_t{w.stride.width} * channels;
    for (int y = 0; y < height_; ++y) {
      float* to = unfolded_ + std::ptrdiff_t{y} * width_ * plan_.unfolded_channels;
      for (int ky = 0; ky < w.kernel.height; ++ky)
        for (int i = 0; i < runs; ++i, to += run)
          copy_runs(large_ + (y * w.stride.height + ky * w.dilation.height) * large_row + i * run_step, from_step, to,
                    run);
    }
  }

  /// One run for each pixel of a row. Runs are a few floats long, so vectors are short; they are copied whole, since
  /// what is written too far is overwritten by the next run.
  void copy_runs(const float* from, std::ptrdiff_t from_step, float* to, int run) const {
    using Four = Vec<float, 4>;
    for (int j = 0; j < run; j += Four::width)
      for (int x = 0; x < width_; ++x)
        Four::load(from + x * from_step + j).store(to + x * std::ptrdiff_t{plan_.unfolded_channels} + j);
  }

  /// sums[tap][row][lane] (+)= the outer products of the chunk's pixels.
  void multiply(bool accumulate) {
    const Window& w = plan_.window;
    const int channels = plan_.unfolded ? plan_.unfolded_channels : plan_.large_channels;
    const int stride_y = plan_.unfolded ? 1 : w.stride.height;
    const int stride_x = plan_.unfolded ? 1 : w.stride.width;
    const std::ptrdiff_t large_row = std::ptrdiff_t{plan_.unfolded ? width_ : plan_.large_width} * channels;
    std::ptrdiff_t* large_offset = plan_.rows_are_large ? row_offset_ : lane_offset_;
    std::ptrdiff_t* small_offset = plan_.rows_are_large ? lane_offset_ : row_offset_;
    for (int y = 0; y < height_; ++y) {
      large_offset[y] = y * stride_y * large_row;
      small_offset[y] = std::ptrdiff_t{y} * width_ * plan_.small_channels;
    }
    const std::ptrdiff_t large_step = std::ptrdiff_t{stride_x} * channels;
    OuterProducts p;
    p.a_offset = row_offset_;
    p.b_offset = lane_offset_;
    p.a_step = plan_.rows_are_large ? large_step : plan_.small_channels;
    p.b_step = plan_.rows_are_large ? plan_.small_channels : large_step;
    p.outer = height_;
    p.inner = width_;
    p.sum_step = plan_.lane_block;
    p.accumulate = accumulate;
    for (int tap = 0; tap < plan_.sum_taps; ++tap) {
      const float* large = (plan_.unfolded ? unfolded_ : large_) +
                           tap / w.kernel.width * w.dilation.height * large_row +
                           tap % w.kernel.width * w.dilation.width * channels;
      const float* a = plan_.rows_are_large ? large : small_;
      const float* b = plan_.rows_are_large ? small_ : large;
      for (int l = 0; l < lanes_;) {
        const int vectors = Blocks::widest((lanes_ - l + W - 1) / W);
        for (int r = 0; r < rows_;) {
          const int height = Blocks::next_rows(vectors, rows_ - r);
          p.a = a + r;
          p.b = b + l;
          p.sum = sums_ + (std::ptrdiff_t{tap} * plan_.row_block + r) * plan_.lane_block + l;
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
    const std::ptrdiff_t fastest = swapped ? plan_.large.channels : plan_.small.channels;
    const bool lanes_are_fastest = plan_.rows_are_large != swapped;
    const std::ptrdiff_t tap_size = std::ptrdiff_t{plan_.large.channels} * plan_.small.channels;
    const std::ptrdiff_t lane_step = lanes_are_fastest ? 1 : fastest;
    for (int tap = 0; tap < plan_.sum_taps; ++tap)
      for (int r = 0; r < rows_; ++r) {
        const int row = plan_.unfolded ? (row0_ + r) % plan_.large.channels : row0_ + r;
        const int t = plan_.unfolded ? (row0_ + r) / plan_.large.channels : tap;
        float* to = target + t * tap_size + row * (lanes_are_fastest ? fastest : 1) + lane0_ * lane_step;
        const float* from = sums_ + (std::ptrdiff_t{tap} * plan_.row_block + r) * plan_.lane_block;
        if (lane_step == 1 && accumulate)
          for (int l = 0; l < lanes_; ++l) to[l] += from[l];
        else if (lane_step == 1)
          copy(from, to, lanes_, lanes_);
        else
          for (int l = 0; l < lanes_; ++l) to[l * lane_step] = accumulate ? to[l * lane_step] + from[l] : from[l];
      }
  }

  const Call<float>& call_;
  const WeightGradientPlan<Isa>& plan_;
  float* sums_;
  float* large_;
  float* unfolded_;
  float* small_;
  std::ptrdiff_t* row_offset_;
  std::ptrdiff_t* lane_offset_;
  int row0_ = 0, rows_ = 0, lane0_ = 0, lanes_ = 0;
  int sample_ = 0, x0_ = 0, y0_ = 0, width_ = 0, height_ = 0;
};

}  // namespace detail

/// Op::convolution_weight_gradient, both storage orders (swap_channels).
template <class Isa>
void convolution_weight_gradient(const Call<float>& call) {
  assert(call.input[0].shape.depth == 1 && call.input[1].shape.depth == 1 && call.node->window.kernel.depth == 1);
  const WeightGradientPlan<Isa> plan(call);
  const int blocks = plan.row_blocks() * plan.lane_blocks();
  const std::size_t partial_bytes = plan.band_bytes() * static_cast<std::size_t>(plan.bands);
  const auto partial = [&](int band) { return scratch_piece<float>(call.scratch, 0, plan.band_bytes(), band); };
  parallel_tasks<Isa>(plan.bands * blocks, [&](int task) {
    std::byte* scratch = scratch_piece<std::byte>(call.scratch, partial_bytes, plan.thread_bytes(), thread_slot());
    detail::WeightGradientTask<Isa> worker(call, plan, scratch);
    const int band = task / blocks;
    const bool direct = plan.bands == 1;
    worker.run(band, task % blocks / plan.lane_blocks(), task % plan.lane_blocks(),
               direct ? call.output.data : partial(band), direct && call.node->accumulate);
  });
  if (plan.bands == 1) return;
  const int parts = fixed_parts(plan.gradient_size(), 4096, 64);
  parallel_tasks<Isa>(parts, [&](int part) {
    const Range range = part_of(plan.gradient_size(), parts, part);
    sum_partials<Isa>(partial(0) + range.begin, static_cast<std::ptrdiff_t>(plan.band_bytes() / sizeof(float)),
                      plan.bands, call.output.data + range.begin, range.size(), call.node->accumulate);
  });
}

template <class Isa>
std::size_t convolution_weight_gradient_scratch_bytes(const Call<float>& call, int threads) {
  const WeightGradientPlan<Isa> plan(call);
  return plan.band_bytes() * static_cast<std::size_t>(plan.bands) +
         plan.thread_bytes() * static_cast<std::size_t>(threads);
}

}  // namespace ulna::tbb_kernels
