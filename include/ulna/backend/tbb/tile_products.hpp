// SPDX-License-Identifier: MIT
// The products of pair_products.hpp on tiles: AMX multiplies 16 rows of 16 pairs with 16 pairs of 16 lanes at once.
#pragma once

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "ulna/backend/tbb/pair_products.hpp"
#include "ulna/error.hpp"

namespace ulna::tbb_kernels {

namespace detail {

/// Eight tiles of 16 rows of 64 bytes. In assembly, since compilers' functions take no tile number from a template.
class TileUnit {
 public:
  /// Shapes the tiles of this thread.
  static void configure() {
    struct alignas(64) Configuration {
      std::uint8_t palette = 1;
      std::uint8_t start = 0;
      std::uint8_t reserved[14]{};
      std::uint16_t bytes_of_row[16]{64, 64, 64, 64, 64, 64, 64, 64};
      std::uint8_t rows[16]{16, 16, 16, 16, 16, 16, 16, 16};
    };
    static_assert(sizeof(Configuration) == 64);
    const Configuration c;
    __asm__ volatile("ldtilecfg %0" ::"m"(c));
  }
  static void release() { __asm__ volatile("tilerelease"); }

  template <int Tile>
  [[gnu::always_inline]] void zero() {
    __asm__ volatile("tilezero %%tmm%c0" ::"n"(Tile));
  }
  template <int Tile>
  [[gnu::always_inline]] void load(const void* from, std::ptrdiff_t step) {
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(step), "n"(Tile) : "memory");
  }
  template <int Tile>
  [[gnu::always_inline]] void store(void* to, std::ptrdiff_t step) const {
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(step), "n"(Tile) : "memory");
  }
  /// Sum += the products of pairs of A's rows and B's columns.
  template <int Sum, int A, int B>
  [[gnu::always_inline]] void dot() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"n"(Sum), "n"(A), "n"(B));
  }
};

/// What the unit does, in loops.
class EmulatedTileUnit {
 public:
  static void configure() {}
  static void release() {}

  template <int Tile>
  void zero() {
    for (auto& row : tile_[Tile])
      for (std::uint32_t& x : row) x = 0;
  }
  template <int Tile>
  void load(const void* from, std::ptrdiff_t step) {
    for (int r = 0; r < 16; ++r) __builtin_memcpy(tile_[Tile][r], static_cast<const std::byte*>(from) + r * step, 64);
  }
  template <int Tile>
  void store(void* to, std::ptrdiff_t step) const {
    for (int r = 0; r < 16; ++r) __builtin_memcpy(static_cast<std::byte*>(to) + r * step, tile_[Tile][r], 64);
  }
  template <int Sum, int A, int B>
  void dot() {
    const auto first = [](std::uint32_t pair) { return std::bit_cast<float>(pair << 16); };
    const auto second = [](std::uint32_t pair) { return std::bit_cast<float>(pair & 0xFFFF0000u); };
    for (int r = 0; r < 16; ++r)
      for (int i = 0; i < 16; ++i)
        for (int l = 0; l < 16; ++l) {
          const std::uint32_t a = tile_[A][r][i];
          const std::uint32_t b = tile_[B][i][l];
          const float sum = std::bit_cast<float>(tile_[Sum][r][l]) + first(a) * first(b) + second(a) * second(b);
          tile_[Sum][r][l] = std::bit_cast<std::uint32_t>(sum);
        }
  }

 private:
  std::uint32_t tile_[8][16][16];
};

}  // namespace detail

/// Blocks of one or two tiles of rows by one or two of lanes. The number of pairs is a multiple of 16.
template <class Unit, int RowTiles, int Vectors>
void tile_products(const PairProducts& p) {
  constexpr int edge = 16;
  Unit unit;
  const std::ptrdiff_t sum_step = p.sum_step * static_cast<std::ptrdiff_t>(sizeof(float));
  const std::ptrdiff_t a_step = p.a_row * static_cast<std::ptrdiff_t>(sizeof(bf16));
  const std::ptrdiff_t b_step = p.b_step * static_cast<std::ptrdiff_t>(sizeof(bf16));
  float* const lower = p.sum + edge * p.sum_step;
  if (p.accumulate) {
    unit.template load<0>(p.sum, sum_step);
    if constexpr (Vectors == 2) unit.template load<1>(p.sum + edge, sum_step);
    if constexpr (RowTiles == 2) unit.template load<2>(lower, sum_step);
    if constexpr (RowTiles == 2 && Vectors == 2) unit.template load<3>(lower + edge, sum_step);
  } else {
    unit.template zero<0>();
    unit.template zero<1>();
    unit.template zero<2>();
    unit.template zero<3>();
  }
  for (int o = 0; o < p.outer; ++o) {
    const bf16* a = p.a + p.a_offset[o];
    const bf16* b = p.b + p.b_offset[o];
    for (int i = 0; i < p.pairs; i += edge, a += 2 * edge, b += edge * p.b_step) {
      unit.template load<4>(a, a_step);
      unit.template load<6>(b, b_step);
      unit.template dot<0, 4, 6>();
      if constexpr (RowTiles == 2) {
        unit.template load<5>(a + edge * p.a_row, a_step);
        unit.template dot<2, 5, 6>();
      }
      if constexpr (Vectors == 2) {
        unit.template load<7>(b + 2 * edge, b_step);
        unit.template dot<1, 4, 7>();
        if constexpr (RowTiles == 2) unit.template dot<3, 5, 7>();
      }
    }
  }
  unit.template store<0>(p.sum, sum_step);
  if constexpr (Vectors == 2) unit.template store<1>(p.sum + edge, sum_step);
  if constexpr (RowTiles == 2) unit.template store<2>(lower, sum_step);
  if constexpr (RowTiles == 2 && Vectors == 2) unit.template store<3>(lower + edge, sum_step);
}

template <class Isa>
requires(Isa::pair_dot == PairDot::tiles || Isa::pair_dot == PairDot::emulated_tiles) class PairBlocks<Isa> {
  using Unit = std::conditional_t<Isa::pair_dot == PairDot::tiles, detail::TileUnit, detail::EmulatedTileUnit>;

 public:
  static constexpr int most_vectors = 2;
  static constexpr int most_rows = 32;
  static constexpr int granule = 16;
  static constexpr bool pads_rows = true;

  struct Setup {
    Setup() { Unit::configure(); }
    ~Setup() { Unit::release(); }
    Setup(const Setup&) = delete;
    Setup& operator=(const Setup&) = delete;
  };

  static constexpr int widest(int vectors) { return std::min(vectors, most_vectors); }
  static constexpr int next_rows(int, int left) { return left > 16 ? 32 : 16; }
  static PairProductsKernel kernel(int vectors, int rows) {
    if (rows == 32) return vectors == 2 ? &tile_products<Unit, 2, 2> : &tile_products<Unit, 2, 1>;
    return vectors == 2 ? &tile_products<Unit, 1, 2> : &tile_products<Unit, 1, 1>;
  }
};

/// Asks the system for the tiles' registers, once a process. Throws Error where they are not to be had.
template <class Isa>
void request_tiles() {
  if constexpr (Isa::pair_dot == PairDot::tiles) {
#if defined(__linux__) && defined(__x86_64__)
    constexpr long request_permission = 0x1023;  // ARCH_REQ_XCOMP_PERM
    constexpr long tile_data = 18;               // XFEATURE_XTILEDATA
    static const bool granted = syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
#else
    static const bool granted = true;
#endif
    if (!granted)
      throw ArgumentError(
          "cpu::Tbb: this program was compiled for AMX tiles, and the system does not grant them; compile without "
          "-mamx-bf16, or run it on a processor and a kernel (5.16 or newer) that have them");
  }
}

}  // namespace ulna::tbb_kernels
