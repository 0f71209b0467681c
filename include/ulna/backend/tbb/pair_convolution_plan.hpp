// SPDX-License-Identifier: MIT
// How a bf16 convolution or transposed convolution is cut into tasks and blocks: sizes only, no data.
#pragma once

#include <algorithm>
#include <cstddef>

#include "ulna/backend/tbb/convolution_plan.hpp"
#include "ulna/backend/tbb/tile_products.hpp"

namespace ulna::tbb_kernels {

/// The weights are rounded and packed once a call, as [group of outputs][tap][pair of channels][output][2]. A task then
/// takes some rows of one column tile and some groups. It walks down the rows with a ring of input rows, [x][channel]
/// with zeros outside the image, or reads them where they lie when no window reaches beyond. The sums of an output stay
/// in registers over all taps and channels.
template <class Isa>
struct PairConvolutionPlan {
  using Blocks = PairBlocks<Isa>;
  static constexpr int W = Isa::width;
  static constexpr std::ptrdiff_t weight_bytes_of_task = 400'000;  // of 1 MB of L2 cache
  static constexpr std::ptrdiff_t ring_bytes_of_task = 300'000;    // so does this beside it

  AxisMap<Isa> y, x;
  int batch, channels, outputs, taps;
  int padded;     ///< channels in whole granules of pairs
  int pitch;      ///< from one packed pixel to the next
  bool pools;     ///< pairs of rows are pooled as soon as they are there
  bool packed;    ///< the weights lie as a frozen model has packed them
  bool in_place;  ///< the input is read where it lies
  int vectors;    ///< of outputs in a register block
  int groups_of_task;
  int tile_width, tiles, rows;
  int ring_rows, positions;  ///< pixels of a packed row
  std::size_t weight_bytes, ring_bytes, table_bytes, sum_bytes;

  explicit PairConvolutionPlan(const Call<bf16>& call) {
    const Node& node = *call.node;
    const Window& w = node.window;
    const Shape in = call.input[0].shape;
    const Shape out = call.output.shape;
    const bool transposed = node.op == Op::transposed_convolution;
    y = {w.kernel.height, w.stride.height, w.dilation.height, w.pad_before.height, in.height, out.height, transposed};
    x = {w.kernel.width, w.stride.width, w.dilation.width, w.pad_before.width, in.width, out.width, transposed};
    batch = call.batch;
    channels = in.channels;
    outputs = out.channels;
    taps = w.taps();
    packed = node.weight_order == WeightOrder::pair_blocks;
    constexpr int granule = 2 * Blocks::granule;
    padded = (channels + granule - 1) / granule * granule;
    // Pixels a multiple of 2 KB apart would compete for the same lines of the nearest cache.
    const std::ptrdiff_t pixel_bytes =
        x.step() * call.input[0].pixel_stride * static_cast<std::ptrdiff_t>(sizeof(bf16));
    in_place = !Blocks::pads_rows && padded == channels && pixel_bytes % 2048 != 0 && inside(y) && inside(x);
    pitch = padded % 256 == 0 ? padded + 32 : padded;
    if (taps == 1 && w.stride == Extent{1, 1, 1} && y.low == 0 && x.low == 0 && in.extent() == out.extent() &&
        uniform(call.input[0]) && uniform(call.output) && uniform(call.input[residual_input]))
      join_rows();
    rows = y.count(0);
    pools = call.pool != nullptr && rows % 2 == 0;
    plan_groups();
    plan_tiles();
    plan_scratch();
  }

  int width() const { return vectors * W; }  ///< outputs of a group
  int groups() const { return (outputs + width() - 1) / width(); }
  std::ptrdiff_t group_size() const { return std::ptrdiff_t{taps} * padded * width(); }
  /// Where the weights of a group begin, and the distance from one pair of channels to the next.
  std::ptrdiff_t group_place(int group) const {
    if (!packed) return group * group_size();
    const int k = group * width();
    return std::ptrdiff_t{padded} * (k / weight_block * weight_block) + 2 * (k % weight_block);
  }
  std::ptrdiff_t pair_step(int group) const { return packed ? 2 * weight_block : 2 * vectors_of(group) * W; }
  /// Vectors of a group: the last may be narrower.
  int vectors_of(int group) const { return std::min(vectors, (outputs - group * width() + W - 1) / W); }
  /// Tasks take a number of rows that is a multiple of this.
  int row_unit() const { return pools ? 2 : 1; }
  int blocks() const { return (groups() + groups_of_task - 1) / groups_of_task; }
  std::ptrdiff_t ring_row() const { return std::ptrdiff_t{positions} * pitch; }
  std::size_t thread_bytes() const { return ring_bytes + table_bytes + sum_bytes; }

  /// Enough row groups to keep the threads busy, each long enough to pay for the rows packed twice. Any number gives
  /// the same results.
  int row_groups(int threads) const {
    const std::ptrdiff_t all_rows = std::ptrdiff_t{batch} * rows;
    const std::ptrdiff_t others = std::ptrdiff_t{tiles} * blocks();
    const std::ptrdiff_t wanted = (8 * threads + others - 1) / others;
    const std::ptrdiff_t paying = in_place ? all_rows : all_rows / (2 * ring_rows);
    return static_cast<int>(std::clamp<std::ptrdiff_t>(std::min(wanted, paying), 1, all_rows / row_unit()));
  }

 private:
  static bool uniform(const Tensor<bf16>& t) { return t.batch <= 1 || t.sample_stride == t.pixels() * t.pixel_stride; }
  /// No output of the axis reads beyond the input.
  static bool inside(const AxisMap<Isa>& axis) {
    for (int phase = 0; phase < axis.phases(); ++phase)
      if ((axis.count(phase) - 1) * axis.step() + axis.high >= axis.input) return false;
    return axis.low >= 0;
  }

  /// Of a 1x1 convolution: all pixels of all samples are one row.
  void join_rows() {
    const int pixels = x.output * y.output * batch;
    y = {1, 1, 1, 0, 1, 1, false};
    x = {1, 1, 1, 0, pixels, pixels, false};
    batch = 1;
  }

  void plan_groups() {
    vectors = Blocks::widest((outputs + W - 1) / W);
    const std::ptrdiff_t fitting = weight_bytes_of_task / (group_size() * static_cast<std::ptrdiff_t>(sizeof(bf16)));
    groups_of_task = static_cast<int>(std::clamp<std::ptrdiff_t>(fitting, 1, groups()));
  }

  void plan_tiles() {
    ring_rows = y.span();
    const int count = x.count(0);
    const std::ptrdiff_t pixel_bytes = std::ptrdiff_t{ring_rows} * x.step() * pitch * static_cast<int>(sizeof(bf16));
    constexpr int most_in_place = 20 * Blocks::most_rows;
    const int most_width =
        in_place ? most_in_place
                 : static_cast<int>(std::clamp<std::ptrdiff_t>(ring_bytes_of_task / pixel_bytes, 32, 1 << 16));
    tiles = (count + most_width - 1) / most_width;
    tile_width = (count + tiles - 1) / tiles;
    if (pools) {
      tile_width += tile_width % 2;
      tiles = (count + tile_width - 1) / tile_width;
    }
    const int computed = Blocks::pads_rows ? (tile_width + 31) / 32 * 32 : tile_width;
    positions = (computed - 1) * x.step() + x.span();
  }

  void plan_scratch() {
    const auto bytes = [](std::ptrdiff_t n, std::size_t each) {
      return aligned_bytes(static_cast<std::size_t>(n) * each);
    };
    weight_bytes = packed ? 0 : bytes(groups() * group_size(), sizeof(bf16));
    ring_bytes = in_place ? 0 : bytes(ring_rows * ring_row(), sizeof(bf16));
    table_bytes = bytes(taps, sizeof(PairTap)) + 2 * bytes(taps, sizeof(std::ptrdiff_t)) +
                  bytes(y.phases() * x.phases() + 1, sizeof(int));
    sum_bytes = bytes(std::ptrdiff_t{Blocks::most_rows} * Blocks::most_vectors * W, sizeof(float));
  }

 public:
  /// Where one tap of one phase reads, relative to the lowest pixel that any tap reads.
  struct PairTap {
    int row = 0;
    int column = 0;
    int weight = 0;  ///< number of the tap in the weight
  };
};

}  // namespace ulna::tbb_kernels
