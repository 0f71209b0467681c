// SPDX-License-Identifier: MIT
// A short calibration of the machine that a program runs on.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "ulna/backend/backend.hpp"
#include "ulna/backend/tbb/simd.hpp"
#include "ulna/graph/cost.hpp"
#include "ulna/runtime/buffer.hpp"

namespace ulna {

namespace detail {

/// Seconds that f() takes.
inline double seconds_of(auto&& f) {
  const auto begin = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// `rounds` x sizeof...(Chain) vector multiply-adds, in chains that do not wait for each other: enough of them to fill
/// two units of a latency of five, few enough for 16 registers.
template <class T, int Width, std::size_t... Chain>
void multiply_add(std::int64_t rounds, T* values, std::index_sequence<Chain...>) {
  using V = Vec<T, Width>;
  const V factor = V::broadcast(values[0]);
  const V term = V::broadcast(values[1]);
  V sum[] = {V::broadcast(static_cast<T>(Chain))...};
  for (std::int64_t i = 0; i < rounds; ++i) ((sum[Chain] = fma(sum[Chain], factor, term)), ...);
  for (std::size_t c = 1; c < sizeof...(Chain); ++c) sum[0] = sum[0] + sum[c];
  sum[0].store(values);
}

}  // namespace detail

/// Arithmetic of a backend's Master type (float, or double) and memory traffic, both with all of its threads, best of
/// several rounds: about a fifth of a second and 128 MiB. Units for narrower types (bf16) are faster than this says;
/// state a Machine of your own for those.
template <CpuBackend B, class Isa = NativeIsa>
Machine measure_machine(const B& backend) {
  using T = MasterOf<B>;
  constexpr int width = Isa::width * 4 / static_cast<int>(sizeof(T));
  constexpr int chains = 12;
  constexpr std::int64_t steps = 1 << 18;
  constexpr std::int64_t elements = std::int64_t{64} * 1024 * 1024 / static_cast<std::int64_t>(sizeof(T));
  constexpr std::int64_t block = 1 << 16;
  Machine machine;
  const std::int64_t tasks = 8 * backend.threads();
  const double operations = 2.0 * chains * width * static_cast<double>(steps * tasks);
  const Buffer<T> from(static_cast<std::size_t>(elements));
  std::ranges::fill(from.span(), T(1));  // pages that were never written would all be one page of zeros, in the cache
  const Buffer<T> to(static_cast<std::size_t>(elements));
  for (int round = 0; round < 4; ++round) {
    const double arithmetic = detail::seconds_of([&] {
      backend.parallel_for_blocks(tasks, 1, [&](std::int64_t task, std::int64_t) {
        T values[width] = {T(0.5), T(1)};
        detail::multiply_add<T, width>(steps, values, std::make_index_sequence<chains>{});
        // what was computed decides what is written, so that it has to be computed
        to.data()[task] = values[0] > T(1e6) ? T(1) : T(0);
      });
    });
    const double memory = detail::seconds_of([&] {
      backend.parallel_for_blocks(elements, block, [&](std::int64_t begin, std::int64_t end) {
        const T* const x = from.data();
        T* const y = to.data();
        for (std::int64_t i = begin; i < end; ++i) y[i] = x[i] + T(1);
      });
    });
    machine.flops = std::max(machine.flops, operations / arithmetic);
    machine.bytes_per_second =
        std::max(machine.bytes_per_second, 2.0 * static_cast<double>(elements) * sizeof(T) / memory);
  }
  return machine;
}

}  // namespace ulna
