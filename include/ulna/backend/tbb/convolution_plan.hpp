// SPDX-License-Identifier: MIT
// How a convolution or a transposed convolution is cut into tasks and blocks: sizes only, no data.
#pragma once

#include <algorithm>
#include <cstddef>

#include "ulna/backend/tbb/outer_products.hpp"
#include "ulna/backend/tbb/parallel.hpp"
#include "ulna/backend/tensor.hpp"

namespace ulna::tbb_kernels {

/// One spatial axis in the form that a convolution and its adjoint share. Output o = q phases + phase reads the input
/// at q step + offset(phase, tap) for every tap that this phase reads. A convolution has one phase. Its adjoint has
/// `stride` phases, each a convolution of stride 1 with some of the taps; where kernel = stride, with a single tap.
template <class Isa>
struct AxisMap {
  int kernel = 1, stride = 1, dilation = 1, pad = 0;
  int input = 1, output = 1;
  bool transposed = false;
  int low = 0, high = 0;  ///< least and greatest offset of all taps

  AxisMap() = default;
  AxisMap(int kernel_, int stride_, int dilation_, int pad_, int input_, int output_, bool transposed_)
      : kernel(kernel_),
        stride(stride_),
        dilation(dilation_),
        pad(pad_),
        input(input_),
        output(output_),
        transposed(transposed_) {
    bool first = true;
    for (int phase = 0; phase < phases(); ++phase)
      for (int tap = 0; tap < kernel; ++tap) {
        if (!reads(phase, tap)) continue;
        low = first ? offset(phase, tap) : std::min(low, offset(phase, tap));
        high = first ? offset(phase, tap) : std::max(high, offset(phase, tap));
        first = false;
      }
  }

  int phases() const { return transposed ? stride : 1; }
  int step() const { return transposed ? 1 : stride; }
  int span() const { return high - low + 1; }
  /// Outputs of a phase.
  int count(int phase) const { return (output - phase + phases() - 1) / phases(); }
  bool reads(int phase, int tap) const { return !transposed || (phase + pad - tap * dilation) % stride == 0; }
  int offset(int phase, int tap) const {
    return transposed ? (phase + pad - tap * dilation) / stride : tap * dilation - pad;
  }
};

/// Where one tap of one phase reads, relative to the lowest pixel that any tap reads.
struct Tap {
  int row = 0;                ///< rows below
  std::ptrdiff_t column = 0;  ///< position within a packed row
  int weight = 0;             ///< number of the tap in the weight
};

/// A task takes some rows of one column tile and one block of output channels. It walks down the rows with a ring of
/// packed input rows, [channel][stride residue][x] with zeros outside the image, so that the pixels of a register block
/// are consecutive floats whatever the stride is.
template <class Isa>
struct ConvolutionPlan {
  static constexpr int W = Isa::width;
  static constexpr std::ptrdiff_t weight_floats = 76'000;  // 9 taps x 128 channels x 64 outputs stay in a 1 MB L2 cache
  static constexpr std::ptrdiff_t ring_floats = 100'000;   // so does this beside it
  static constexpr std::ptrdiff_t held_floats = 100'000;
  static constexpr int least_outputs = 64;

  AxisMap<Isa> y, x;
  int batch, channels, outputs, taps;
  bool residual;      ///< is added to the outputs
  bool pools;         ///< pairs of rows are pooled as soon as they are there
  int channel_block;  ///< depends on taps and channels alone, as it decides the order of the additions
  int output_block;
  bool lanes_along_x;  ///< few outputs: the vector lanes are pixels, not output channels
  int vectors;         ///< in a register block
  int tile_width, tiles, rows;
  int ring_rows, residues, pitch;
  std::size_t weight_bytes, ring_bytes, table_bytes, sum_bytes, held_bytes;

  explicit ConvolutionPlan(const Call<float>& call) {
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
    residual = node.residual != ResidualSum::none;
    rows = y.count(0);
    pools = call.pool != nullptr && rows % 2 == 0;
    plan_blocks();
    plan_tiles();
    plan_scratch();
  }

  std::ptrdiff_t plane() const { return std::ptrdiff_t{residues} * pitch; }
  std::ptrdiff_t row_floats() const { return channel_block * plane(); }
  int output_blocks() const { return (outputs + output_block - 1) / output_block; }
  std::size_t thread_bytes() const { return weight_bytes + ring_bytes + table_bytes + sum_bytes + held_bytes; }

  /// Sums over some of the channels lie in the output, but where the output may be the residual: then tasks are short
  /// enough to keep theirs.
  bool holds_sums() const { return residual && channel_block < channels; }
  int held_rows() const {
    const std::ptrdiff_t fitting = held_floats / (std::ptrdiff_t{tile_width} * output_block);
    return static_cast<int>(std::max<std::ptrdiff_t>(fitting / row_unit() * row_unit(), row_unit()));
  }
  /// Tasks take a number of rows that is a multiple of this.
  int row_unit() const { return pools ? 2 : 1; }

  /// Enough row groups to keep the threads busy, each long enough to pay for packing its weights. Any number gives the
  /// same results.
  int row_groups(int threads) const {
    const std::ptrdiff_t all_rows = std::ptrdiff_t{batch} * rows;
    const std::ptrdiff_t others = std::ptrdiff_t{tiles} * output_blocks();
    const std::ptrdiff_t wanted = (8 * threads + others - 1) / others;
    const std::ptrdiff_t paying = all_rows * tile_width * y.phases() * x.phases() / 512;
    const std::ptrdiff_t least = holds_sums() ? (all_rows + held_rows() - 1) / held_rows() : 1;
    return static_cast<int>(std::clamp<std::ptrdiff_t>(std::min(wanted, paying), least, all_rows / row_unit()));
  }

 private:
  void plan_blocks() {
    lanes_along_x = outputs <= W / 2;
    const std::ptrdiff_t fitting = weight_floats / (std::ptrdiff_t{taps} * least_outputs);
    const int most_channels = static_cast<int>(std::max<std::ptrdiff_t>(fitting / 16 * 16, 16));
    const int blocks = (channels + most_channels - 1) / most_channels;
    channel_block = std::min(channels, ((channels + blocks - 1) / blocks + 15) / 16 * 16);
    // the more outputs, the less often the input is packed
    const std::ptrdiff_t outputs_fitting = weight_floats / (std::ptrdiff_t{taps} * channel_block) / least_outputs;
    const int most_outputs = static_cast<int>(std::clamp<std::ptrdiff_t>(outputs_fitting, 1, 8)) * least_outputs;
    output_block = lanes_along_x ? outputs : std::min((outputs + W - 1) / W * W, most_outputs);
  }

  void plan_tiles() {
    ring_rows = y.span();
    residues = std::min(x.step(), x.span());
    const int width = x.count(0);
    const std::ptrdiff_t fitting = ring_floats / (std::ptrdiff_t{ring_rows} * channel_block * residues);
    const int most_width = std::max(static_cast<int>(std::min<std::ptrdiff_t>(fitting, 1 << 16)) / 16 * 16, 48);
    tiles = (width + most_width - 1) / most_width;
    tile_width = (width + tiles - 1) / tiles;
    if (pools) {
      tile_width += tile_width % 2;
      tiles = (width + tile_width - 1) / tile_width;
    }
    using Blocks = RegisterBlocks<Isa>;
    // Four vectors of outputs reuse each pixel most, but need five pixels or more to keep up with the cache.
    vectors = lanes_along_x ? Blocks::widest((tile_width + W - 1) / W)
                            : Blocks::widest(std::min((outputs + W - 1) / W, tile_width % 6 && tile_width < 9 ? 2 : 4));
    const int pixels = lanes_along_x ? (tile_width + vectors * W - 1) / (vectors * W) * (vectors * W) : tile_width;
    // room for whole vectors behind the row, and an odd number of cache lines against conflicts between channels
    const int needed = pixels + (x.span() - 1) / x.step() + W;
    pitch = ((needed + 15) / 16 | 1) * 16;
  }

  void plan_scratch() {
    const auto floats = [](std::ptrdiff_t n) { return aligned_bytes(static_cast<std::size_t>(n) * sizeof(float)); };
    weight_bytes = floats(std::ptrdiff_t{taps} * channel_block * (output_block + W));
    ring_bytes = floats(ring_rows * row_floats());
    const std::size_t phases = static_cast<std::size_t>(y.phases()) * static_cast<std::size_t>(x.phases());
    const std::size_t n = static_cast<std::size_t>(taps);
    table_bytes = aligned_bytes(n * sizeof(Tap)) + 2 * aligned_bytes(n * sizeof(std::ptrdiff_t)) +
                  aligned_bytes((phases + 1) * sizeof(int));
    sum_bytes = floats(RegisterBlocks<Isa>::most_sums);
    held_bytes = holds_sums() ? floats(std::ptrdiff_t{held_rows()} * tile_width * output_block) : 0;
  }
};

}  // namespace ulna::tbb_kernels
