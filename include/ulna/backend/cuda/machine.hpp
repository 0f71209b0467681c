// SPDX-License-Identifier: MIT
// A short calibration of a device.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "ulna/backend/cuda/device.hpp"
#include "ulna/graph/cost.hpp"

namespace ulna {

namespace cuda {

/// Every block multiplies the same two tiles, which stay in shared memory, again and again and writes the sum of what
/// each thread holds: products as fast as they are where nothing has to be brought.
template <class Tile_>
struct ProductRateProgram {
  using Tile = Tile_;
  using Product = typename ProductOf<Tile>::type;
  static constexpr int resident_blocks = Tile::resident_blocks;

  const std::byte* tiles;  ///< Tile::stage_bytes, as they lie in shared memory
  float* sums_of_threads;
  int rounds;

  template <class Block>
  ULNA_HOST_DEVICE void operator()(Block& block, const BlockIndex& index) const {
    typename Block::template PerThread<typename Product::Sums> sums;
    block.each([&](int t) {
      sums[t] = {};
      for (int at = t * chunk_bytes; at < Tile::stage_bytes; at += Tile::threads * chunk_bytes)
        block.copy(t, at, tiles + at, true);
    });
    block.commit();
    block.template wait<0>();
    if constexpr (Tile::warpgroups) block.publish();
    block.barrier();
    if constexpr (Tile::warpgroups) Product::settle(block, sums);
    ULNA_KEEP_LOOP
    for (int round = 0; round < rounds; ++round) {
      Product::add(block, sums, 0);
      if constexpr (Tile::warpgroups)
        block.template wait_products<1>();
      else
        block.barrier();  // as often as where tiles are brought; nothing is kept in registers from round to round
    }
    if constexpr (Tile::warpgroups) Product::finish(block, sums);
    block.each([&](int t) {
      float sum = 0.0f;
      Product::each_pair(t, sums[t], [&](int, int, float& x0, float& x1) { sum += x0 + x1; });
      sums_of_threads[std::int64_t{index.tile} * Tile::threads + t] = sum;
    });
  }
};

namespace detail {

/// Seconds of what work() enqueues, the best of several times after one that loads code.
template <class Platform>
double best_seconds(const Platform& platform, const auto& work) {
  typename Platform::Mark begin, end;
  double best = std::numeric_limits<double>::infinity();
  for (int time = 0; time < 5; ++time) {
    platform.run([&] {
      platform.delay(500e-6);  // until all of it is enqueued
      platform.mark(begin);
      work();
      platform.mark(end);
    });
    platform.wait();
    if (time > 0) best = std::min(best, platform.seconds(begin, end));
  }
  return best;
}

/// Bytes a second, read and written, of copies from memory of the device to it.
template <class Platform>
double copy_rate(const Platform& platform, std::size_t bytes) {
  const auto from = platform.template memory<std::byte>(bytes);
  const auto to = platform.template memory<std::byte>(bytes);
  const double seconds = best_seconds(platform, [&] { platform.copy(to.data(), from.data(), bytes); });
  return 2.0 * static_cast<double>(bytes) / seconds;
}

/// The operands of the products that are measured: small fractions, which no product rounds.
template <class Tile>
std::vector<typename Tile::Operand> rate_operands() {
  using T = typename Tile::Operand;
  std::vector<T> values(static_cast<std::size_t>(Tile::stage_bytes) / sizeof(T));
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<T>((static_cast<float>(i * 37 % 61) - 25.0f) / 64.0f);
  return values;
}

/// Floating-point operations a second of `blocks` blocks of products, `rounds` each.
template <class Tile, class Platform>
double product_rate(const Platform& platform, int blocks, int rounds) {
  const auto operands = rate_operands<Tile>();
  const auto tiles = platform.template memory<std::byte>(Tile::stage_bytes);
  const auto sums = platform.template memory<float>(static_cast<std::size_t>(blocks) * Tile::threads);
  platform.run([&] { platform.copy(tiles.data(), operands.data(), Tile::stage_bytes); });
  const ProductRateProgram<Tile> program{tiles.data(), sums.data(), rounds};
  ProductPlan plan;
  plan.row_tiles = blocks;
  plan.column_tiles = 1;
  const auto on = platform.execution(nullptr);
  const double seconds = best_seconds(platform, [&] { run_tiles(on, "product_rate", plan, program); });
  return 2.0 * Tile::rows * Tile::columns * Tile::depth * double(rounds) * blocks / seconds;
}

/// By the widest tiles that convolutions have.
template <Arithmetic A, class Platform>
double product_rate(const Platform& platform, int blocks, int rounds) {
  if constexpr (A != Arithmetic::exact)
    if (has_warpgroup_products(platform.execution(nullptr)))
      return product_rate<typename TileOf<A, Major::k, TileKind::warpgroup_large>::type>(platform, blocks, rounds);
  return product_rate<typename TileOf<A, Major::k, TileKind::large>::type>(platform, blocks, rounds);
}

}  // namespace detail
}  // namespace cuda

/// What a device's products in the backend's arithmetic (float, TF32 or bf16) and its memory can do at most: measured
/// in a tenth of a second, with 512 MiB of its memory. Throws cuda::Error where there is less.
template <class T, class A, class Platform>
Machine measure_machine(const cuda::BasicDevice<T, A, Platform>& device) {
  constexpr std::size_t bytes = std::size_t{256} << 20;
  const Platform& platform = device.platform();
  // whole waves, whether a multiprocessor holds one, two or four blocks
  const int blocks = 16 * platform.multiprocessors();
  return {.flops = cuda::detail::product_rate<cuda::BasicDevice<T, A, Platform>::products>(platform, blocks, 512),
          .bytes_per_second = cuda::detail::copy_rate(platform, bytes)};
}

}  // namespace ulna
