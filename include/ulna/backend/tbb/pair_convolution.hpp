// SPDX-License-Identifier: MIT
// bf16 convolution and transposed convolution, direct, of any kernel, stride, dilation and padding: products of bf16
// pairs summed in float, then bias and activation, then rounded once.
//
// Each output is one chain of sums over (tap, pair of channels) wherever the pixel lies; taps outside the image
// multiply zeros. So a tile of an image gives the bits of the whole, and the number of threads does not matter.
#pragma once

#include <cassert>
#include <cstring>

#include "ulna/backend/tbb/epilogue.hpp"
#include "ulna/backend/tbb/pair_convolution_plan.hpp"
#include "ulna/backend/tbb/pixel_product.hpp"
#include "ulna/backend/tbb/pool.hpp"
#include "ulna/backend/tbb/transpose.hpp"
#include "ulna/backend/tbb/weight.hpp"

namespace ulna::tbb_kernels {

namespace detail {

/// One tap of `valid` outputs from `first` on, as [pair of channels][output][2].
template <class Isa>
void pack_pair_tap(const WeightView& weight, int tap, int first, int valid, bf16* to, int width, int padded) {
  constexpr int W = Isa::width;
  constexpr int most_width = PairBlocks<Isa>::most_vectors * W;
  constexpr int at_once = 16;  // channels that are transposed together
  alignas(64) float square[at_once * most_width];
  for (int c = 0; c < padded; c += at_once) {
    const int count = std::min(at_once, static_cast<int>(weight.channels) - c);
    const float* rows = weight.at(tap, c, first);
    std::ptrdiff_t step = weight.channel_step();
    if (weight.swapped && count > 0) {
      transpose<Isa>(rows, weight.channels, valid, count, square, most_width);
      rows = square;
      step = most_width;
    }
    for (int i = 0; i < std::min(at_once, padded - c); i += 2, to += 2 * width)
      pack_pair<Isa>(i < count ? rows + i * step : nullptr, i + 1 < count ? rows + (i + 1) * step : nullptr, valid, to,
                     width);
  }
}

/// One thread's work on a (row group, column tile, block of output groups).
template <class Isa>
class PairConvolutionTask {
  using Plan = PairConvolutionPlan<Isa>;
  using Blocks = PairBlocks<Isa>;
  using PairTap = typename Plan::PairTap;
  static constexpr int W = Isa::width;

 public:
  PairConvolutionTask(const Call<bf16>& call, const Plan& plan, const bf16* weights, std::byte* scratch)
      : call_(call), plan_(plan), weights_(weights) {
    ring_ = take_piece<bf16>(scratch, plan.ring_bytes);
    sums_ = take_piece<float>(scratch, plan.sum_bytes);
    const auto taps = static_cast<std::size_t>(plan.taps);
    taps_ = take_piece<PairTap>(scratch, aligned_bytes(taps * sizeof(PairTap)));
    input_offset_ = take_piece<std::ptrdiff_t>(scratch, aligned_bytes(taps * sizeof(std::ptrdiff_t)));
    weight_offset_ = take_piece<std::ptrdiff_t>(scratch, aligned_bytes(taps * sizeof(std::ptrdiff_t)));
    phase_begin_ = reinterpret_cast<int*>(scratch);
    list_taps();
  }

  void run(Range rows, int tile, int block) {
    const typename Blocks::Setup setup;
    x0_ = tile * plan_.tile_width;
    first_group_ = block * plan_.groups_of_task;
    int sample = -1;
    for (std::ptrdiff_t r = rows.begin; r < rows.end; ++r) {
      const int n = static_cast<int>(r / plan_.rows);
      const int q = static_cast<int>(r % plan_.rows);
      if (n != sample) next_packed_ = q * plan_.y.step() + plan_.y.low;
      sample = n;
      if (!plan_.in_place) pack_rows(n, q);
      compute_row(n, q);
      if (plan_.pools && q % 2 == 1) pool_rows(n, q / 2);
    }
  }

 private:
  int phases() const { return plan_.y.phases() * plan_.x.phases(); }

  /// The two rows of this task that are there now.
  void pool_rows(int n, int row) const {
    const int last = std::min((x0_ + plan_.tile_width) / 2, call_.pool->output.shape.width);
    const int k = first_group_ * plan_.width();
    const int channels = std::min(plan_.groups_of_task * plan_.width(), plan_.outputs - k);
    max_pool_row<Isa>(*call_.pool, n, row, x0_ / 2, last, k, channels);
  }

  /// The taps of each phase, phase after phase, each phase in the order of the weight. Packed weights keep the weight's
  /// order of taps.
  void list_taps() {
    const auto& y = plan_.y;
    const auto& x = plan_.x;
    int n = 0;
    for (int phase = 0; phase < phases(); ++phase) {
      const int py = phase / x.phases();
      const int px = phase % x.phases();
      phase_begin_[phase] = n;
      for (int ky = 0; ky < y.kernel; ++ky)
        for (int kx = 0; kx < x.kernel; ++kx)
          if (y.reads(py, ky) && x.reads(px, kx))
            taps_[n++] = {y.offset(py, ky) - y.low, x.offset(px, kx) - x.low, ky * x.kernel + kx};
    }
    phase_begin_[phases()] = n;
  }

  /// Packs the input rows that output row q reads and that are not in the ring yet.
  void pack_rows(int n, int q) {
    const int first = q * plan_.y.step() + plan_.y.low;
    next_packed_ = std::max(next_packed_, first);
    for (; next_packed_ <= first + plan_.y.high - plan_.y.low; ++next_packed_) pack_row(n, next_packed_);
  }

  void pack_row(int n, int iy) {
    const auto& x = plan_.x;
    const Tensor<bf16>& in = call_.input[0];
    bf16* to = ring_ + (iy - plan_.y.low) % plan_.ring_rows * plan_.ring_row();
    const int first = x0_ * x.step() + x.low;  // the pixel at position 0
    const bool outside = iy < 0 || iy >= plan_.y.input;
    const int begin = outside ? plan_.positions : std::clamp(-first, 0, plan_.positions);
    const int end = outside ? begin : std::clamp(x.input - first, begin, plan_.positions);
    clear(to, std::ptrdiff_t{begin} * plan_.pitch);
    to += std::ptrdiff_t{begin} * plan_.pitch;
    if (begin < end) {
      const bf16* from = in.pixel(n, std::ptrdiff_t{iy} * x.input + first + begin);
      const std::size_t bytes = static_cast<std::size_t>(plan_.channels) * sizeof(bf16);
      if (in.pixel_stride == plan_.pitch && plan_.pitch == plan_.channels) {
        std::memcpy(to, from, bytes * static_cast<std::size_t>(end - begin));
        to += std::ptrdiff_t{end - begin} * plan_.pitch;
      } else {
        for (int i = begin; i < end; ++i, from += in.pixel_stride, to += plan_.pitch) {
          std::memcpy(to, from, bytes);
          clear(to + plan_.channels, plan_.padded - plan_.channels);
        }
      }
    }
    clear(to, std::ptrdiff_t{plan_.positions - end} * plan_.pitch);
  }

  static void clear(bf16* to, std::ptrdiff_t count) {
    std::memset(static_cast<void*>(to), 0, static_cast<std::size_t>(count) * sizeof(bf16));
  }

  void compute_row(int n, int q) {
    const auto& y = plan_.y;
    const auto& x = plan_.x;
    const Tensor<bf16>& in = call_.input[0];
    for (int phase = 0; phase < phases(); ++phase) {
      const int py = phase / x.phases();
      const int px = phase % x.phases();
      const int pixels = std::min(plan_.tile_width, x.count(px) - x0_);
      if (q >= y.count(py) || pixels <= 0) continue;
      const int begin = phase_begin_[phase];
      PairProducts p;
      p.outer = phase_begin_[phase + 1] - begin;
      p.pairs = plan_.padded / 2;
      p.a_offset = input_offset_;
      p.b_offset = weight_offset_;
      const std::ptrdiff_t pixel = plan_.in_place ? in.pixel_stride : plan_.pitch;
      p.a_row = x.step() * pixel;
      for (int t = 0; t < p.outer; ++t) {
        const PairTap& tap = taps_[begin + t];
        const std::ptrdiff_t row = plan_.in_place ? tap.row * std::ptrdiff_t{x.input} * pixel
                                                  : (q * y.step() + tap.row) % plan_.ring_rows * plan_.ring_row();
        input_offset_[t] = row + tap.column * pixel;
      }
      const bf16* a = ring_;
      if (plan_.in_place) a = in.pixel(n, (std::ptrdiff_t{q} * y.step() + y.low) * x.input + x0_ * x.step() + x.low);
      const std::ptrdiff_t first = (std::ptrdiff_t{q} * y.phases() + py) * x.output + x0_ * x.phases() + px;
      compute(p, begin, a, pixels, n, first);
    }
  }

  /// A row of pixels of one phase, from pixel `first` of the output on: register blocks of consecutive pixels by a
  /// group of outputs.
  void compute(PairProducts& p, int first_tap, const bf16* a, int pixels, int n, std::ptrdiff_t first) {
    bf16* const out = call_.output.pixel(n, first);
    const std::ptrdiff_t out_step = call_.output.pixel_stride * plan_.x.phases();
    const int end = std::min(first_group_ + plan_.groups_of_task, plan_.groups());
    for (int group = first_group_; group < end; ++group) {
      const int vectors = plan_.vectors_of(group);
      const int width = vectors * W;
      const int k0 = group * plan_.width();
      const int outputs = std::min(width, plan_.outputs - k0);
      const Epilogue<Isa, bf16> epilogue(call_, n, first, k0);
      p.b = weights_ + plan_.group_place(group);
      p.b_step = plan_.pair_step(group);
      for (int t = 0; t < p.outer; ++t)
        weight_offset_[t] = std::ptrdiff_t{taps_[first_tap + t].weight} * plan_.padded * width;
      p.sum = sums_;
      p.sum_step = width;
      for (int i = 0; i < pixels;) {
        const int height = Blocks::next_rows(vectors, pixels - i);
        const int valid = std::min(height, pixels - i);
        p.a = a + i * p.a_row;
        Blocks::kernel(vectors, height)(p);
        epilogue.shifted(i, 0).finish(sums_, width, out + i * out_step + k0, out_step, valid, outputs);
        i += valid;
      }
    }
  }

  const Call<bf16>& call_;
  const Plan& plan_;
  const bf16* weights_;
  bf16* ring_;
  float* sums_;
  PairTap* taps_;
  std::ptrdiff_t* input_offset_;
  std::ptrdiff_t* weight_offset_;
  int* phase_begin_;
  int x0_ = 0, first_group_ = 0;
  int next_packed_ = 0;
};

}  // namespace detail

namespace detail {

/// The weights of a call as its plan has them: rounded and packed into scratch, unless the model holds them so.
template <class Isa>
const bf16* pair_weights(const Call<bf16>& call, const PairConvolutionPlan<Isa>& plan) {
  if (plan.packed) return call.input[1].data;
  const WeightView weight(call);
  bf16* const weights = reinterpret_cast<bf16*>(call.scratch.data());
  parallel_tasks<Isa>(plan.groups() * plan.taps, [&](int task) {
    const int group = task / plan.taps;
    const int tap = task % plan.taps;
    const int first = group * plan.width();
    const int width = plan.vectors_of(group) * Isa::width;
    pack_pair_tap<Isa>(weight, tap, first, std::min(width, plan.outputs - first),
                       weights + plan.group_place(group) + std::ptrdiff_t{tap} * plan.padded * width, width,
                       plan.padded);
  });
  return weights;
}

}  // namespace detail

/// Op::convolution and Op::transposed_convolution of bf16, both storage orders of the weight (swap_channels). Weight
/// and bias are floats.
template <class Isa>
void pair_convolution(const Call<bf16>& call) {
  assert(call.output.shape.depth == 1 && call.input[0].shape.depth == 1 && call.node->window.kernel.depth == 1);
  if constexpr (!PairBlocks<Isa>::pads_rows)
    if (PixelProductPlan<Isa, bf16>::fits(call)) {
      pixel_product<Isa, bf16>(call);
      if (call.pool) max_pool<Isa>(*call.pool);
      return;
    }
  const PairConvolutionPlan<Isa> plan(call);
  const bf16* weights = detail::pair_weights<Isa>(call, plan);
  const int row_groups = plan.row_groups(thread_count());
  const int blocks = plan.blocks();
  const int unit = plan.row_unit();
  const std::ptrdiff_t units = std::ptrdiff_t{plan.batch} * plan.rows / unit;
  parallel_tasks<Isa>(row_groups * plan.tiles * blocks, [&](int task) {
    std::byte* scratch = scratch_piece<std::byte>(call.scratch, plan.weight_bytes, plan.thread_bytes(), thread_slot());
    detail::PairConvolutionTask<Isa> worker(call, plan, weights, scratch);
    const Range part = part_of(units, row_groups, task / blocks / plan.tiles);
    worker.run({part.begin * unit, part.end * unit}, task / blocks % plan.tiles, task % blocks);
  });
  if (call.pool && !plan.pools) max_pool<Isa>(*call.pool);
}

template <class Isa>
std::size_t pair_convolution_scratch_bytes(const Call<bf16>& call, int threads) {
  if (PixelProductPlan<Isa, bf16>::fits(call)) return pixel_product_bytes<Isa, bf16>(threads);
  const PairConvolutionPlan<Isa> plan(call);
  return plan.weight_bytes + aligned_bytes(plan.thread_bytes()) * static_cast<std::size_t>(threads);
}

}  // namespace ulna::tbb_kernels
