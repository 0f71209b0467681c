// SPDX-License-Identifier: MIT
// Convolution and transposed convolution, direct (no im2col): register blocks over packed rows and packed weights.
//
// Each output is one chain of multiply-adds over (channel block, tap, channel), then bias and activation, wherever the
// pixel lies in image, tile and register block; taps outside the image multiply zeros. So a tile of an image gives the
// bits of the whole, and the number of threads does not matter.
#pragma once

#include <cassert>

#include "ulna/backend/tbb/convolution_plan.hpp"
#include "ulna/backend/tbb/epilogue.hpp"
#include "ulna/backend/tbb/pixel_product.hpp"
#include "ulna/backend/tbb/pool.hpp"
#include "ulna/backend/tbb/transpose.hpp"
#include "ulna/backend/tbb/weight.hpp"

namespace ulna::tbb_kernels {

namespace detail {

/// One thread's work on a (row group, column tile, output block).
template <class Isa>
class ConvolutionTask {
  using V = FloatVec<Isa>;
  using Blocks = RegisterBlocks<Isa>;
  static constexpr int W = Isa::width;

 public:
  ConvolutionTask(const Call<float>& call, const ConvolutionPlan<Isa>& plan, std::byte* scratch)
      : call_(call), plan_(plan) {
    weights_ = take_piece<float>(scratch, plan.weight_bytes);
    ring_ = take_piece<float>(scratch, plan.ring_bytes);
    sums_ = take_piece<float>(scratch, plan.sum_bytes);
    held_ = take_piece<float>(scratch, plan.held_bytes);
    const auto taps = static_cast<std::size_t>(plan.taps);
    taps_ = take_piece<Tap>(scratch, aligned_bytes(taps * sizeof(Tap)));
    input_offset_ = take_piece<std::ptrdiff_t>(scratch, aligned_bytes(taps * sizeof(std::ptrdiff_t)));
    weight_offset_ = take_piece<std::ptrdiff_t>(scratch, aligned_bytes(taps * sizeof(std::ptrdiff_t)));
    phase_begin_ = reinterpret_cast<int*>(scratch);
    list_taps();
  }

  void run(Range rows, int tile, int block) {
    x0_ = tile * plan_.tile_width;
    k0_ = block * plan_.output_block;
    outputs_ = std::min(plan_.output_block, plan_.outputs - k0_);
    for (c0_ = 0; c0_ < plan_.channels; c0_ += plan_.channel_block) {
      channels_ = std::min(plan_.channel_block, plan_.channels - c0_);
      pack_weights();
      int sample = -1;
      for (std::ptrdiff_t r = rows.begin; r < rows.end; ++r) {
        const int n = static_cast<int>(r / plan_.rows);
        const int q = static_cast<int>(r % plan_.rows);
        if (n != sample) next_packed_ = q * plan_.y.step() + plan_.y.low;
        sample = n;
        pack_rows(n, q);
        compute_row(n, q, static_cast<int>(r - rows.begin));
        if (plan_.pools && last_channels() && q % 2 == 1) pool_rows(n, q / 2);
      }
    }
  }

 private:
  bool last_channels() const { return c0_ + channels_ == plan_.channels; }
  int phases() const { return plan_.y.phases() * plan_.x.phases(); }

  /// The taps of each phase, phase after phase, each phase in the order of the weight.
  void list_taps() {
    const auto& y = plan_.y;
    const auto& x = plan_.x;
    int n = 0;
    for (int phase = 0; phase < phases(); ++phase) {
      const int py = phase / x.phases();
      const int px = phase % x.phases();
      phase_begin_[phase] = n;
      for (int ky = 0; ky < y.kernel; ++ky)
        for (int kx = 0; kx < x.kernel; ++kx) {
          if (!y.reads(py, ky) || !x.reads(px, kx)) continue;
          const int column = x.offset(px, kx) - x.low;
          taps_[n].row = y.offset(py, ky) - y.low;
          taps_[n].column = std::ptrdiff_t{column % x.step()} * plan_.pitch + column / x.step();
          taps_[n].weight = ky * x.kernel + kx;
          ++n;
        }
    }
    phase_begin_[phases()] = n;
  }

  /// Outputs that the register block starting at output k of the block covers, padded to whole vectors.
  int group_width(int k) const {
    if (plan_.lanes_along_x) return outputs_;
    return W * Blocks::widest(std::min(plan_.vectors, (outputs_ - k + W - 1) / W));
  }

  /// Weights as [group][tap][channel][output of the group], zeros behind the last output.
  void pack_weights() {
    const WeightView weight(call_);
    float* to = weights_;
    for (int k = 0; k < outputs_; k += group_width(k)) {
      const int width = group_width(k);
      const int valid = std::min(width, outputs_ - k);
      for (int t = 0; t < plan_.taps; ++t, to += std::ptrdiff_t{channels_} * width) {
        const float* from = weight.at(taps_[t].weight, c0_, k0_ + k);
        if (weight.swapped)
          transpose_weights(from, valid, to, width);
        else
          copy_weights(from, weight.channel_step(), valid, to, width);
      }
    }
  }

  void copy_weights(const float* from, std::ptrdiff_t step, int valid, float* to, int width) const {
    for (int c = 0; c < channels_; ++c, from += step, to += width) {
      int k = 0;
      for (; k + W <= valid; k += W) V::load(from + k).store(to + k);
      for (; k < valid; ++k) to[k] = from[k];
      for (; k < width; ++k) to[k] = 0.0f;
    }
  }

  void transpose_weights(const float* from, int valid, float* to, int width) const {
    if (width % W == 0) {
      transpose<Isa>(from, plan_.channels, valid, channels_, to, width);
      for (int c = 0; c < channels_ && valid < width; ++c)
        for (int k = valid; k < width; ++k) to[c * width + k] = 0.0f;
    } else {  // too narrow for whole vectors to be written
      for (int c = 0; c < channels_; ++c)
        for (int k = 0; k < valid; ++k) to[c * width + k] = from[k * std::ptrdiff_t{plan_.channels} + c];
    }
  }

  /// Packs the input rows that output row q reads and that are not in the ring yet.
  void pack_rows(int n, int q) {
    const int first = q * plan_.y.step() + plan_.y.low;
    next_packed_ = std::max(next_packed_, first);
    for (; next_packed_ <= first + plan_.y.high - plan_.y.low; ++next_packed_) pack_row(n, next_packed_);
  }

  void pack_row(int n, int iy) {
    const auto& x = plan_.x;
    const Tensor<float>& in = call_.input[0];
    float* row = ring_ + (iy - plan_.y.low) % plan_.ring_rows * plan_.row_floats();
    const bool outside = iy < 0 || iy >= plan_.y.input;
    for (int residue = 0; residue < plan_.residues; ++residue) {
      const int first = x0_ * x.step() + x.low + residue;  // pixel at the start of this residue's row
      const int before = first < 0 ? (-first + x.step() - 1) / x.step() : 0;
      const int behind = first < x.input ? (x.input - first + x.step() - 1) / x.step() : 0;
      const int begin = std::min(before, plan_.pitch - W);
      const int end = outside ? begin : std::clamp(behind, begin, plan_.pitch - W);
      float* to = row + residue * plan_.pitch;
      if (begin < end)
        transpose<Isa>(in.pixel(n, std::ptrdiff_t{iy} * x.input + first + std::ptrdiff_t{begin} * x.step()) + c0_,
                       x.step() * in.pixel_stride, end - begin, channels_, to + begin, plan_.plane());
      for (int c = 0; c < channels_; ++c) {
        float* plane = to + c * plan_.plane();
        for (int i = 0; i < begin; ++i) plane[i] = 0.0f;
        for (int i = end; i < plan_.pitch; ++i) plane[i] = 0.0f;
      }
    }
  }

  /// The two rows of this tile that are there now.
  void pool_rows(int n, int row) const {
    const int last = std::min((x0_ + plan_.tile_width) / 2, call_.pool->output.shape.width);
    max_pool_row<Isa>(*call_.pool, n, row, x0_ / 2, last, k0_, outputs_);
  }

  /// Sums of pixels, `step` floats apart.
  struct Place {
    float* data;
    std::ptrdiff_t step;
  };

  /// `row`: of the task.
  void compute_row(int n, int q, int row) {
    const auto& y = plan_.y;
    const auto& x = plan_.x;
    const int base = q * y.step();
    for (int phase = 0; phase < phases(); ++phase) {
      const int py = phase / x.phases();
      const int px = phase % x.phases();
      const int pixels = std::min(plan_.tile_width, x.count(px) - x0_);
      if (q >= y.count(py) || pixels <= 0) continue;
      const int begin = phase_begin_[phase];
      const int taps = phase_begin_[phase + 1] - begin;
      for (int t = 0; t < taps; ++t) {
        const Tap& tap = taps_[begin + t];
        input_offset_[t] = (base + tap.row) % plan_.ring_rows * plan_.row_floats() + tap.column;
      }
      const std::ptrdiff_t first = (std::ptrdiff_t{q} * y.phases() + py) * x.output + x0_ * x.phases() + px;
      const Place out{call_.output.pixel(n, first) + k0_, call_.output.pixel_stride * x.phases()};
      Place partial = out;
      if (plan_.holds_sums())
        partial = {held_ + std::ptrdiff_t{row} * plan_.tile_width * plan_.output_block, plan_.output_block};
      Epilogue<Isa, float> epilogue;
      if (last_channels()) epilogue = {call_, n, first, k0_};
      if (plan_.lanes_along_x)
        compute_along_x(begin, taps, pixels, partial, last_channels() ? out : partial, epilogue);
      else
        compute_along_outputs(begin, taps, pixels, partial, last_channels() ? out : partial, epilogue);
    }
  }

  /// Register blocks of consecutive pixels by vectors of outputs. `partial`: sums over the channels before.
  void compute_along_outputs(int begin, int taps, int pixels, Place partial, Place out,
                             const Epilogue<Isa, float>& epilogue) {
    OuterProducts p;
    p.a_offset = input_offset_;
    p.b_offset = weight_offset_;
    p.a_step = plan_.plane();
    p.outer = taps;
    p.inner = channels_;
    p.accumulate = c0_ > 0;
    const float* weights = weights_;
    for (int k = 0; k < outputs_;) {
      const int width = group_width(k);
      const int valid = std::min(width, outputs_ - k);
      p.b_step = width;
      p.b = weights + std::ptrdiff_t{begin} * channels_ * width;
      for (int t = 0; t < taps; ++t) weight_offset_[t] = std::ptrdiff_t{t} * channels_ * width;
      const bool direct = valid == width && epilogue.residual == nullptr;  // which may lie where sums would go
      for (int i = 0; i < pixels;) {
        const int height = Blocks::next_rows(width / W, pixels - i);
        float* to = out.data + i * out.step + k;
        p.a = ring_ + i;
        p.sum = direct ? to : sums_;
        p.sum_step = direct ? out.step : width;
        if (!direct && p.accumulate) load_sums(partial.data + i * partial.step + k, partial.step, height, valid, width);
        Blocks::kernel(width / W, height)(p);
        if (!direct || !epilogue.identity())
          epilogue.shifted(i, k).finish(p.sum, p.sum_step, to, out.step, height, valid);
        i += height;
      }
      weights += std::ptrdiff_t{plan_.taps} * channels_ * width;
      k += width;
    }
  }

  void load_sums(const float* from, std::ptrdiff_t step, int pixels, int valid, int width) {
    for (int p = 0; p < pixels; ++p)
      for (int k = 0; k < valid; ++k) sums_[p * width + k] = from[p * step + k];
  }

  /// Register blocks of outputs by vectors of consecutive pixels.
  void compute_along_x(int begin, int taps, int pixels, Place partial, Place out,
                       const Epilogue<Isa, float>& epilogue) {
    const int width = plan_.vectors * W;
    OuterProducts p;
    p.a_offset = weight_offset_;
    p.b_offset = input_offset_;
    p.a_step = outputs_;
    p.b_step = plan_.plane();
    p.outer = taps;
    p.inner = channels_;
    p.sum = sums_;
    p.sum_step = width;
    p.accumulate = c0_ > 0;
    for (int t = 0; t < taps; ++t) weight_offset_[t] = std::ptrdiff_t{t} * channels_ * outputs_;
    for (int k = 0; k < outputs_;) {
      const int height = Blocks::next_rows(plan_.vectors, outputs_ - k);
      p.a = weights_ + std::ptrdiff_t{begin} * channels_ * outputs_ + k;
      for (int i = 0; i < pixels; i += width) {
        const int valid = std::min(width, pixels - i);
        p.b = ring_ + i;
        if (p.accumulate)
          for (int r = 0; r < height; ++r)
            for (int j = 0; j < valid; ++j) sums_[r * width + j] = partial.data[(i + j) * partial.step + k + r];
        Blocks::kernel(plan_.vectors, height)(p);
        epilogue.shifted(i, k).finish_transposed(sums_, width, out.data + i * out.step + k, out.step, valid, height);
      }
      k += height;
    }
  }

  const Call<float>& call_;
  const ConvolutionPlan<Isa>& plan_;
  float* weights_;
  float* ring_;
  float* sums_;
  float* held_;
  Tap* taps_;
  std::ptrdiff_t* input_offset_;
  std::ptrdiff_t* weight_offset_;
  int* phase_begin_;
  int x0_ = 0, k0_ = 0, c0_ = 0;
  int outputs_ = 0, channels_ = 0;
  int next_packed_ = 0;
};

}  // namespace detail

/// Op::convolution and Op::transposed_convolution, both storage orders of the weight (swap_channels).
template <class Isa>
void convolution(const Call<float>& call) {
  assert(call.output.shape.depth == 1 && call.input[0].shape.depth == 1 && call.node->window.kernel.depth == 1);
  if (PixelProductPlan<Isa, float>::fits(call)) {
    pixel_product<Isa, float>(call);
    if (call.pool) max_pool<Isa>(*call.pool);
    return;
  }
  const ConvolutionPlan<Isa> plan(call);
  const int groups = plan.row_groups(thread_count());
  const int blocks = plan.output_blocks();
  const int unit = plan.row_unit();
  const std::ptrdiff_t units = std::ptrdiff_t{plan.batch} * plan.rows / unit;
  parallel_tasks<Isa>(groups * plan.tiles * blocks, [&](int task) {
    std::byte* scratch = scratch_piece<std::byte>(call.scratch, 0, plan.thread_bytes(), thread_slot());
    detail::ConvolutionTask<Isa> worker(call, plan, scratch);
    const int block = task % blocks;
    const int tile = task / blocks % plan.tiles;
    const Range part = part_of(units, groups, task / blocks / plan.tiles);
    worker.run({part.begin * unit, part.end * unit}, tile, block);
  });
  if (call.pool && !plan.pools) max_pool<Isa>(*call.pool);
}

template <class Isa>
std::size_t convolution_scratch_bytes(const Call<float>& call, int threads) {
  if (PixelProductPlan<Isa, float>::fits(call)) return pixel_product_bytes<Isa, float>(threads);
  return ConvolutionPlan<Isa>(call).thread_bytes() * static_cast<std::size_t>(threads);
}

}  // namespace ulna::tbb_kernels
