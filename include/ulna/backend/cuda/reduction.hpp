// SPDX-License-Identifier: MIT
// Sums of fixed shape: their order depends on the sizes alone, so the same bits come out run after run and on any
// device.
//
// For each record r and column c the terms i of [0, length) are summed in double. Threads stand in `width` columns by
// `lanes`; each sums the terms of its lane in a chunk one by one, lanes are joined as a tree, and if there are several
// chunks a second pass of the same kind sums theirs.
#pragma once

#include <bit>
#include <cstdint>

#include "ulna/backend/cuda/elements.hpp"
#include "ulna/backend/workspace.hpp"

namespace ulna::cuda {

/// The sizes of a reduction and how they are split.
struct ReductionShape {
  std::int64_t records = 1;
  std::int64_t length = 1;
  int columns = 1;
  int width = 1;                  ///< columns of a block, a power of two
  int lanes = 1;                  ///< threads of a column, a power of two
  std::int64_t chunk_length = 1;  ///< terms of a column that one block sums
  std::int64_t chunks = 1;

  constexpr int tiles() const { return (columns + width - 1) / width; }
  constexpr std::int64_t blocks() const { return records * chunks * tiles(); }
  constexpr int threads() const { return width * lanes; }

  static constexpr ReductionShape of(std::int64_t records, std::int64_t length, int columns, bool may_split = true) {
    ReductionShape s;
    s.records = records;
    s.length = length;
    s.columns = columns;
    s.width = static_cast<int>(std::bit_ceil(static_cast<unsigned>(columns < 32 ? columns : 32)));
    const std::int64_t wanted = length < 1 ? 1 : length;
    s.lanes = 256 / s.width;
    while (s.lanes > 1 && s.lanes / 2 >= wanted) s.lanes /= 2;
    std::int64_t terms = 32;  // of a thread: more would idle a device, fewer would cost more in the second pass
    const std::int64_t most_chunks = 1024 / s.tiles() > 32 ? 1024 / s.tiles() : 32;
    const std::int64_t least_length = (wanted + most_chunks - 1) / most_chunks;
    if (terms * s.lanes < least_length) terms = (least_length + s.lanes - 1) / s.lanes;
    s.chunk_length = may_split ? terms * s.lanes : wanted;
    s.chunks = (wanted + s.chunk_length - 1) / s.chunk_length;
    return s;
  }

  /// Doubles of working memory for `sums` sums.
  constexpr std::int64_t partials(int sums) const { return chunks > 1 ? records * chunks * columns * sums : 0; }
};

/// One pass. Terms has `static constexpr int sums`, add(record, i, column, sum[]) and finish(record, column, sum[]).
template <class Terms>
struct ReductionBody {
  static constexpr int sums = Terms::sums;
  using State = NoState;
  struct Sums {
    double value[sums];
  };

  Terms terms;
  ReductionShape shape;
  double* partial;  ///< [record][chunk][column][sum], where there are several chunks

  ULNA_HOST_DEVICE int phases() const {
    int n = 1;
    for (int lanes = shape.lanes; lanes > 1; lanes /= 2) ++n;
    return n;
  }

  ULNA_HOST_DEVICE void operator()(int phase, const Position& at, State&) const {
    const Quotient tile = divide(at.block, shape.tiles());
    const Quotient of_record = divide(tile.quotient, static_cast<int>(shape.chunks));
    const std::int64_t record = of_record.quotient;
    const std::int64_t chunk = of_record.remainder;
    const int lane = at.thread / shape.width;
    const int column = tile.remainder * shape.width + at.thread % shape.width;
    Sums* const mine = at.shared_as<Sums>() + at.thread;
    const int joined = shape.lanes >> phase;  // lanes that still hold a sum
    if (phase == 0) {
      *mine = sum_of_lane(record, chunk, lane, column);
    } else if (lane < joined) {
      const Sums& other = mine[joined * shape.width];
      for (int s = 0; s < sums; ++s) mine->value[s] += other.value[s];
    }
    if (joined == 1 && lane == 0 && column < shape.columns) finish(record, chunk, column, mine->value);
  }

 private:
  ULNA_HOST_DEVICE Sums sum_of_lane(std::int64_t record, std::int64_t chunk, int lane, int column) const {
    Sums sum{};
    if (column >= shape.columns) return sum;
    const std::int64_t begin = chunk * shape.chunk_length;
    const std::int64_t end = begin + shape.chunk_length < shape.length ? begin + shape.chunk_length : shape.length;
    for (std::int64_t i = begin + lane; i < end; i += shape.lanes) terms.add(record, i, column, sum.value);
    return sum;
  }

  ULNA_HOST_DEVICE void finish(std::int64_t record, std::int64_t chunk, int column, const double* sum) const {
    if (shape.chunks == 1) {
      terms.finish(record, column, sum);
      return;
    }
    double* const to = partial + ((record * shape.chunks + chunk) * shape.columns + column) * sums;
    for (int s = 0; s < sums; ++s) to[s] = sum[s];
  }
};

/// The second pass: its terms are the chunks' sums.
template <class Terms>
struct PartialSums {
  static constexpr int sums = Terms::sums;
  Terms terms;
  const double* partial;
  std::int64_t chunks;
  int columns;

  ULNA_HOST_DEVICE void add(std::int64_t record, std::int64_t i, int column, double* sum) const {
    const double* const from = partial + ((record * chunks + i) * columns + column) * sums;
    for (int s = 0; s < sums; ++s) sum[s] += from[s];
  }
  ULNA_HOST_DEVICE void finish(std::int64_t record, int column, const double* sum) const {
    terms.finish(record, column, sum);
  }
};

/// Sums the terms; `partial` holds shape.partials(Terms::sums) doubles.
template <class Execution, class Terms>
void reduce(const Execution& on, const char* name, const ReductionShape& shape, double* partial, const Terms& terms) {
  using First = ReductionBody<Terms>;
  on.blocks(name, shape.blocks(), shape.threads(),
            sizeof(typename First::Sums) * static_cast<std::size_t>(shape.threads()), First{terms, shape, partial});
  if (shape.chunks == 1) return;
  using Second = ReductionBody<PartialSums<Terms>>;
  const ReductionShape rest = ReductionShape::of(shape.records, shape.chunks, shape.columns, false);
  on.blocks(name, rest.blocks(), rest.threads(),
            sizeof(typename Second::Sums) * static_cast<std::size_t>(rest.threads()),
            Second{{terms, partial, shape.chunks, shape.columns}, rest, nullptr});
}

}  // namespace ulna::cuda
