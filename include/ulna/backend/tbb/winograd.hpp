// SPDX-License-Identifier: MIT
// Convolution 3x3 of stride 1, and its adjoint, as Winograd's: tiles of input to the points of F, for each point one
// product [tile][channel] x [channel][output], and back to tiles of output.
//
// Tiles lie on a grid of F::outputs pixels from the map's corner. What a tile computes depends on its own inputs alone,
// in a fixed order: an image cut on the grid gives the bits of the whole, and the number of threads does not matter.
#pragma once

#include <cassert>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "ulna/backend/tbb/epilogue.hpp"
#include "ulna/backend/tbb/winograd_plan.hpp"
#include "ulna/backend/tbb/winograd_tile.hpp"
#include "ulna/backend/tbb/winograd_weights.hpp"

namespace ulna::winograd {

/// One thread's work on a (range of tiles, block of outputs).
template <class Isa, class T, class F>
class Task {
  using V = FloatVec<Isa>;
  using Blocks = tbb_kernels::RegisterBlocks<Isa, true>;
  using Reader = TileReader<Isa, typename F::InputLine, T>;
  using Weights = WeightReader<Isa, F>;
  static constexpr int W = Isa::width;
  static constexpr int products = F::products;
  static constexpr bool can_stream = std::is_same_v<T, float> && W * sizeof(T) == 64;
  static constexpr std::int64_t larger_than_caches = 4 * 1024 * 1024;  ///< elements

 public:
  /// `shared`: room for the transformed inputs of a round, where the plan shares them.
  Task(const Call<T>& call, const Plan<Isa, F>& plan, std::byte* scratch, float* shared)
      : call_(call), plan_(plan), shared_(shared) {
    const auto take = [&](std::size_t bytes) {
      float* p = reinterpret_cast<float*>(scratch);
      scratch += bytes;
      return p;
    };
    kept_weights_ = take(plan.weight_bytes());
    own_inputs_ = take(plan.input_bytes());
    products_ = take(plan.product_bytes());
    patch_ = take(plan.patch_bytes());
    taps_ = take(plan.taps_bytes());
  }

  /// The outputs of some tiles, in a block of channels. Where inputs are shared, those of the round that begins with
  /// tile `round` have been transformed.
  void run(tbb_kernels::Range tiles, int block, std::ptrdiff_t round) {
    k0_ = block * plan_.output_block;
    outputs_ = std::min(plan_.output_block, plan_.outputs - k0_);
    width_ = (outputs_ + W - 1) / W * W;
    begin_ = tiles.begin;
    end_ = tiles.end;
    for (first_ = begin_; first_ < end_; first_ += plan_.tile_block) {
      count_ = tiles_from(first_);
      for (int b = 0; b < plan_.channel_blocks; ++b) {
        c0_ = b * plan_.channel_block;
        channels_ = channels_from(c0_);
        weights_ = kept_weights_ + (plan_.keeps_weights ? b * products * plan_.weight_plane : 0);
        if (first_ == begin_ || !plan_.keeps_weights)
          weight().run({c0_, channels_, k0_, outputs_}, weights_, plan_.weight_plane);
        if (plan_.shares_inputs) {
          inputs_ = shared_inputs(b) + (first_ - round) * plan_.channel_stride;
        } else {
          inputs_ = own_inputs_;
          transform_inputs(own_inputs_);
        }
        multiply();
      }
      transform_outputs();
    }
    streaming_done();
  }

  /// The inputs of some tiles, in a block of channels, for all tasks of a round.
  void share_inputs(tbb_kernels::Range tiles, int block, std::ptrdiff_t round) {
    c0_ = block * plan_.channel_block;
    channels_ = channels_from(c0_);
    first_ = tiles.begin;
    count_ = static_cast<int>(tiles.size());
    transform_inputs(shared_inputs(block) + (first_ - round) * plan_.channel_stride);
  }

 private:
  float* shared_inputs(int block) const { return shared_ + block * products * plan_.input_plane; }
  int tiles_from(std::ptrdiff_t first) const {
    return static_cast<int>(std::min<std::ptrdiff_t>(plan_.tile_block, end_ - first));
  }
  int channels_from(int c) const { return std::min(plan_.channel_block, plan_.channels - c); }

  Weights weight() const { return {tbb_kernels::WeightView(call_), plan_.flipped, taps_}; }

  /// What is transformed after the block at hand. After the last of a task, what the next one is likely to begin with.
  WeightBlock next_weights() const {
    if (plan_.keeps_weights && first_ > begin_) return {};
    const int next = c0_ + channels_;
    if (next < plan_.channels) return {next, channels_from(next), k0_, outputs_};
    if (plan_.keeps_weights) return {};
    const int k = first_ + plan_.tile_block < end_ ? k0_ : k0_ + plan_.output_block;
    if (k >= plan_.outputs) return {};
    return {0, channels_from(0), k, std::min(plan_.output_block, plan_.outputs - k)};
  }

  Reader input() const { return {call_.input[0], plan_.grid.low_y, plan_.grid.low_x, patch_, plan_.channel_stride}; }

  void transform_inputs(float* to) {
    const Reader input = this->input();
    plan_.grid.for_each_tile(first_, count_, [&](int t, int sample, int row, int column) {
      input.run(sample, row, column, c0_, channels_, to + std::ptrdiff_t{t} * plan_.channel_stride, plan_.input_plane);
    });
  }

  /// What is transformed after the block at hand.
  TilesAhead<Reader, F> next_inputs() const {
    const int next = c0_ + channels_;
    const std::ptrdiff_t after = first_ + plan_.tile_block;
    if (plan_.shares_inputs || (next == plan_.channels && after >= end_)) return {input(), plan_.grid, 0, 0, 0, 0};
    if (next < plan_.channels) return {input(), plan_.grid, first_, count_, next, channels_from(next)};
    return {input(), plan_.grid, after, tiles_from(after), 0, channels_from(0)};
  }

  /// products[point][tile][output] (+)= inputs[point][tile][channel] weights[point][channel][output].
  void multiply() {
    static constexpr std::ptrdiff_t none = 0;
    tbb_kernels::OuterProducts p;
    p.a_offset = &none;
    p.b_offset = &none;
    p.a_row = plan_.channel_stride;
    p.a_step = 1;
    p.b_step = width_;
    p.outer = 1;
    p.inner = channels_;
    p.sum_step = width_;
    p.accumulate = c0_ > 0;
    TilesAhead next_inputs = this->next_inputs();
    WeightsAhead next_weights(weight(), this->next_weights());
    const auto area = static_cast<float>(width_ * count_);
    for (int point = 0; point < products; ++point) {
      const float* inputs = inputs_ + point * plan_.input_plane;
      const float* weights = weights_ + point * plan_.weight_plane;
      float* sums = products_ + point * plan_.product_plane;
      for (int k = 0; k < width_;) {
        const int vectors = Blocks::widest((width_ - k) / W);
        for (int t = 0; t < count_;) {
          const int height = Blocks::next_rows(vectors, count_ - t);
          p.a = inputs + std::ptrdiff_t{t} * plan_.channel_stride;
          p.b = weights + k;
          p.sum = sums + std::ptrdiff_t{t} * width_ + k;
          Blocks::kernel(vectors, height)(p);
          t += height;
          const float share =
              (static_cast<float>(point) + static_cast<float>(k * count_ + t * vectors * W) / area) / products;
          next_inputs.until(share);
          next_weights.until(share);
        }
        k += vectors * W;
      }
    }
  }

  /// Whether outputs go past the caches: where their map is larger than these, and each store writes a whole line.
  bool output_streams() const {
    const Tensor<T>& out = call_.output;
    constexpr int line = 64 / static_cast<int>(sizeof(T));
    return can_stream && out.shape.size() * out.batch >= larger_than_caches && outputs_ % line == 0 &&
           out.pixel_stride % line == 0 && reinterpret_cast<std::uintptr_t>(out.data) % 64 == 0;
  }

  void transform_outputs() {
    constexpr int n = F::outputs;
    // In parts of rows, so that what lies between the two steps stays in registers.
    constexpr int parts = n == 4 ? 1 : Isa::registers < 32 ? 3 : 2;
    const bool streams = output_streams();
    const Shape& s = plan_.grid.written;
    const Tensor<T>& out = call_.output;
    plan_.grid.for_each_tile(first_, count_, [&](int t, int sample, int row, int column) {
      const int y0 = row * n;
      const int x0 = column * n;
      const int height = std::min(n, s.height - y0);
      const int width = std::min(n, s.width - x0);
      const std::ptrdiff_t first = std::ptrdiff_t{y0} * s.width + x0;
      T* to = out.pixel(sample, first) + k0_;
      const tbb_kernels::Epilogue<Isa, T> epilogue(call_, sample, first, k0_);
      for (int k = 0; k < width_; k += W) {
        V y[F::tile_pixels];
        const float* from = products_ + std::ptrdiff_t{t} * width_ + k;
        transform<typename F::OutputLine, V, parts>(
            [&](int i, int j) { return V::load(from + (i * F::points + j) * plan_.product_plane); },
            [&](int i, int j, V v) { y[i * n + j] = v; });
        const int valid = outputs_ - k;
        const V b = epilogue.bias_of(k, valid);
        for (int i = 0; i < height; ++i)
          for (int j = 0; j < width; ++j) {
            const std::ptrdiff_t at = std::ptrdiff_t{i} * s.width + j;
            V& v = y[i * n + j];
            v = epilogue.finished(v + b, at, k, valid);
            T* pixel = to + at * out.pixel_stride + k;
            if (streams) {
              if constexpr (can_stream) v.store_streaming(pixel);
            } else {
              store(v, pixel, valid);
            }
          }
        if (call_.pool) pool(y, sample, y0 / 2, x0 / 2, k, valid);
      }
    });
  }

  /// The 2x2 windows of a finished tile, which begins at an even pixel.
  void pool(const V (&y)[F::tile_pixels], int sample, int row, int column, int k, int valid) const {
    const Tensor<T>& to = call_.pool->output;
    for (int i = 0; i < F::outputs / 2 && row + i < to.shape.height; ++i)
      for (int j = 0; j < F::outputs / 2 && column + j < to.shape.width; ++j) {
        V best = V::broadcast(-std::numeric_limits<float>::infinity());
        for (int p = 0; p < 4; ++p) best = max(best, y[(2 * i + p / 2) * F::outputs + 2 * j + p % 2]);
        store(best, to.row(sample, row + i) + (column + j) * to.pixel_stride + k0_ + k, valid);
      }
  }

  static void store(V v, T* to, int valid) {
    if (valid >= W)
      v.store(to);
    else
      v.store_partial(to, valid);
  }

  const Call<T>& call_;
  const Plan<Isa, F>& plan_;
  float* shared_;
  float* kept_weights_;       ///< of the whole task, or room for one block of channels
  float* weights_ = nullptr;  ///< of the block of channels at hand
  float* own_inputs_;
  const float* inputs_ = nullptr;  ///< of the block of channels at hand
  float* products_;
  float* patch_;
  float* taps_;
  std::ptrdiff_t begin_ = 0, first_ = 0, end_ = 0;
  int count_ = 0;
  int k0_ = 0, outputs_ = 0, width_ = 0;
  int c0_ = 0, channels_ = 0;
};

/// Op::convolution and Op::transposed_convolution where `chosen(call)`, both storage orders of the weight.
template <class Isa, class T = float, class F = F6>
void convolution(const Call<T>& call) {
  using tbb_kernels::Range;
  assert(suits(call.node->window, call.input[0].shape.channels, call.output.shape.channels) &&
         call.output.shape.depth == 1);
  constexpr int tiles_to_share = 8;  // of a task
  const Plan<Isa, F> plan(call);
  auto* shared = reinterpret_cast<float*>(call.scratch.data());
  const auto parallel = [&](int tasks, const auto& f) {
    tbb_kernels::parallel_tasks<Isa>(tasks, [&](int task) {
      auto* own = tbb_kernels::scratch_piece<std::byte>(call.scratch, plan.shared_bytes(), plan.thread_bytes(),
                                                        tbb_kernels::thread_slot());
      Task<Isa, T, F> worker(call, plan, own, shared);
      f(worker, task);
    });
  };
  for (int r = 0; r < plan.rounds(); ++r) {
    const Range round = tbb_kernels::part_of(plan.tiles(), plan.rounds(), r);
    const auto part = [&](int parts, int index) {
      const Range p = tbb_kernels::part_of(round.size(), parts, index);
      return Range{round.begin + p.begin, round.begin + p.end};
    };
    if (plan.shares_inputs) {
      const auto parts = static_cast<int>((round.size() + tiles_to_share - 1) / tiles_to_share);
      parallel(parts * plan.channel_blocks, [&](auto& worker, int task) {
        worker.share_inputs(part(parts, task / plan.channel_blocks), task % plan.channel_blocks, round.begin);
      });
    }
    const int groups = plan.groups(round.size(), tbb_kernels::thread_count());
    const int blocks = plan.output_blocks();
    parallel(groups * blocks,
             [&](auto& worker, int task) { worker.run(part(groups, task / blocks), task % blocks, round.begin); });
  }
}

template <class Isa, class T = float, class F = F6>
std::size_t convolution_scratch_bytes(const Call<T>& call, int threads) {
  const Plan<Isa, F> plan(call);
  return plan.shared_bytes() + plan.thread_bytes() * static_cast<std::size_t>(threads);
}

}  // namespace ulna::winograd
