// SPDX-License-Identifier: MIT
// Parallel loops over a fixed number of tasks. What a task computes must be a function of the task's number alone; then
// results do not depend on how many threads there are, nor on which of them ran it.
#pragma once

#include <oneapi/tbb/blocked_range.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/partitioner.h>
#include <oneapi/tbb/task_arena.h>

#include <cstddef>
#include <span>

#include "ulna/backend/tbb/simd.hpp"

namespace ulna::tbb_kernels {

namespace detail {
/// One body type per ISA, whatever the kernel: TBB's templates are instantiated once, not once a kernel.
template <class Isa>
struct TaskBody {
  void (*call)(const void* function, int task);
  const void* function;
  void operator()(const tbb::blocked_range<int>& range) const {
    for (int task = range.begin(); task < range.end(); ++task) call(function, task);
  }
};
}  // namespace detail

/// Calls f(task) for each task in [0, count), in any order, in parallel.
template <class Isa, class F>
void parallel_tasks(int count, const F& f) {
  const detail::TaskBody<Isa> body{[](const void* function, int task) { (*static_cast<const F*>(function))(task); },
                                   &f};
  if (count == 1) return body({0, 1});
  tbb::parallel_for(tbb::blocked_range<int>(0, count, 1), body, tbb::simple_partitioner{});
}

/// The running thread's number in its arena, in [0, threads()).
inline int thread_slot() { return tbb::this_task_arena::current_thread_index(); }
/// How many threads may run tasks here.
inline int thread_count() { return tbb::this_task_arena::max_concurrency(); }

/// Sizes are in bytes; every piece of scratch memory starts on a cache line.
constexpr std::size_t aligned_bytes(std::size_t bytes) { return (bytes + 63) / 64 * 64; }

/// Piece number `index` of `bytes_each` bytes, `offset` bytes into the scratch memory.
template <class T>
T* scratch_piece(std::span<std::byte> scratch, std::size_t offset, std::size_t bytes_each, int index) {
  return reinterpret_cast<T*>(scratch.data() + offset + aligned_bytes(bytes_each) * static_cast<std::size_t>(index));
}

/// The next piece of a part of a call's scratch; `scratch` moves behind it.
template <class T>
T* take_piece(std::byte*& scratch, std::size_t bytes) {
  T* piece = reinterpret_cast<T*>(scratch);
  scratch += bytes;
  return piece;
}

/// Item range [begin, end) of part `index` when `items` are dealt to `parts` as evenly as possible.
struct Range {
  std::ptrdiff_t begin = 0;
  std::ptrdiff_t end = 0;
  constexpr std::ptrdiff_t size() const { return end - begin; }
};
constexpr Range part_of(std::ptrdiff_t items, std::ptrdiff_t parts, std::ptrdiff_t index) {
  return {items * index / parts, items * (index + 1) / parts};
}

/// How many parts a reduction over `items` is cut into: about `items_each` each, at most `most`, at least one. A
/// function of the problem alone, so that partial sums combined in order of their number give the same bits on any
/// machine.
constexpr int fixed_parts(std::ptrdiff_t items, std::ptrdiff_t items_each, int most) {
  const std::ptrdiff_t parts = (items + items_each - 1) / items_each;
  return static_cast<int>(parts < 1 ? 1 : parts < most ? parts : most);
}

/// target[i] (+)= partial[0][i] + partial[1][i] + ..., always in this order. Partials lie `stride` elements apart.
template <class Isa>
void sum_partials(const float* partial, std::ptrdiff_t stride, int parts, float* target, std::ptrdiff_t count,
                  bool accumulate) {
  using V = FloatVec<Isa>;
  std::ptrdiff_t i = 0;
  for (; i + V::width <= count; i += V::width) {
    V sum = V::load(partial + i);
    for (int p = 1; p < parts; ++p) sum = sum + V::load(partial + p * stride + i);
    if (accumulate) sum = sum + V::load(target + i);
    sum.store(target + i);
  }
  for (; i < count; ++i) {
    float sum = partial[i];
    for (int p = 1; p < parts; ++p) sum += partial[p * stride + i];
    target[i] = accumulate ? sum + target[i] : sum;
  }
}

}  // namespace ulna::tbb_kernels
