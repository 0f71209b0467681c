// SPDX-License-Identifier: MIT
// Tiles of a product in shared memory: sizes, who copies what, and where each 16-byte chunk lies so that neither copies
// nor fragment loads meet in a bank.
#pragma once

#include <cstdint>

#include "ulna/backend/cuda/host_device.hpp"
#include "ulna/bf16.hpp"

/// Loops over registers must be unrolled, or arrays would live in memory; long loops must not, or registers run out.
#ifdef __CUDACC__
#define ULNA_UNROLL _Pragma("unroll")
#define ULNA_KEEP_LOOP _Pragma("unroll 1")
#else
#define ULNA_UNROLL
#define ULNA_KEEP_LOOP
#endif

namespace ulna::cuda {

inline constexpr int warp_size = 32;
inline constexpr int chunk_bytes = 16;  ///< the largest asynchronous copy, and a row of an 8x8 matrix of 16-bit numbers

/// How a product is computed. Sums are in float always.
enum class Arithmetic : std::uint8_t {
  exact,  ///< float operands, fused multiply-adds in float
  tf32,   ///< float operands, rounded to 11 significant bits as they enter the tensor cores
  bf16,   ///< bfloat16 operands on the tensor cores
};

template <Arithmetic A>
struct OperandOf {
  using type = float;
};
template <>
struct OperandOf<Arithmetic::bf16> {
  using type = bf16;
};

/// The axis along which a tile's chunks lie: the summed one (rows are output rows or columns), or the other.
enum class Major : std::uint8_t { k, mn };

/// A tile of Rows rows of Chunks chunks, as panels of at most eight chunks (128 bytes, all banks) side by side. Chunks
/// trade places within a row by an exclusive or with the row's number, so that the same chunk of neighbouring rows lies
/// in different banks. PairRows: rows r..r+3 must differ in pairs of chunks (single words of four rows are read).
template <int Rows, int Chunks, bool PairRows = false>
struct SharedTile {
  static constexpr int rows = Rows;
  static constexpr int chunks = Chunks;
  static constexpr int panel = Chunks < 8 ? Chunks : 8;
  static constexpr int bytes = Rows * Chunks * chunk_bytes;
  static_assert(panel == 4 || panel == 8);
  static_assert(Chunks % panel == 0);

  static constexpr int swizzle(int row) {
    if (panel == 4) return row >> 1 & 3;
    return PairRows ? (row & 3) << 1 : row & 7;
  }
  /// Byte offset of a chunk.
  static constexpr int offset(int row, int chunk) {
    return chunk / panel * (Rows * panel * chunk_bytes) + row * (panel * chunk_bytes) +
           ((chunk % panel) ^ swizzle(row)) * chunk_bytes;
  }
};

/// Which chunks of a tile each thread copies: always the same chunk of a row, every (Threads / Chunks)-th row.
template <class Tile, int Threads>
struct CopySchedule {
  static_assert(Threads % Tile::chunks == 0 && Tile::rows * Tile::chunks % Threads == 0);
  static constexpr int copies = Tile::rows * Tile::chunks / Threads;
  static constexpr int row_step = Threads / Tile::chunks;
  static constexpr int row(int thread, int copy) { return thread / Tile::chunks + copy * row_step; }
  static constexpr int chunk(int thread) { return thread % Tile::chunks; }
};

/// A thread block's share of a product: Rows x Columns outputs, summed in steps of `depth` by warps of WarpRows x
/// WarpColumns outputs, with Stages tiles of each operand in flight. Warpgroups: four warps of 16 rows multiply
/// together, reading both operands from shared memory (convolution_hopper.hpp).
template <Arithmetic A, Major AMajor, int Rows, int Columns, int WarpRows, int WarpColumns, int DepthBytes, int Stages,
          bool Warpgroups = false>
struct BlockTile {
  using Operand = typename OperandOf<A>::type;
  static constexpr Arithmetic arithmetic = A;
  static constexpr Major a_major = AMajor;
  static constexpr int rows = Rows;
  static constexpr int columns = Columns;
  static constexpr int warp_rows = WarpRows;
  static constexpr int warp_columns = WarpColumns;
  static constexpr int stages = Stages;
  static constexpr bool warpgroups = Warpgroups;
  static constexpr int vector = chunk_bytes / static_cast<int>(sizeof(Operand));  ///< elements of a chunk
  static constexpr int depth = DepthBytes / static_cast<int>(sizeof(Operand));
  static constexpr int threads = Rows / WarpRows * (Columns / WarpColumns) * warp_size;

  /// Matrix instructions of warpgroups take float operands along the summed axis only.
  static constexpr Major b_major = Warpgroups && A != Arithmetic::bf16 ? Major::k : Major::mn;
  static constexpr bool by_words = A == Arithmetic::tf32;  ///< fragments across k are read a word at a time
  /// Blocks of a multiprocessor that registers must leave room for: one waits while another multiplies. Sums of 64
  /// registers leave room for three blocks of four warps; float operands take more than bf16.
  static constexpr int resident_blocks =
      Warpgroups ? (Columns > 128 ? 1 : 2) : (threads > 128 ? 2 : 3) - (A == Arithmetic::bf16 ? 0 : 1);

  using ATile = SharedTile<AMajor == Major::k ? Rows : depth, (AMajor == Major::k ? depth : Rows) / vector,
                           by_words && AMajor == Major::mn>;
  using BTile = SharedTile<b_major == Major::k ? Columns : depth, (b_major == Major::k ? depth : Columns) / vector,
                           by_words && b_major == Major::mn>;
  static constexpr int stage_bytes = ATile::bytes + BTile::bytes;

  /// The output tile on its way to memory: float, rows 8 elements apart from the next multiple of the banks.
  static constexpr int staging_pitch = Columns + 8;
  static constexpr int staging_bytes = Rows * staging_pitch * static_cast<int>(sizeof(float));
  static constexpr int table_bytes = Rows * static_cast<int>(sizeof(std::int64_t));  ///< where each row is written
  static constexpr int shared_bytes =
      (Stages * stage_bytes > staging_bytes ? Stages * stage_bytes : staging_bytes) + table_bytes;

  static_assert(Rows % WarpRows == 0 && Columns % WarpColumns == 0);
};

}  // namespace ulna::cuda
