// SPDX-License-Identifier: MIT
// Timing of single kernels of the Tbb backend: operands with random values, scratch memory, an arena of threads.
#pragma once

#include <benchmark/benchmark.h>
#include <oneapi/tbb/task_arena.h>

#include <cstdint>
#include <string>
#include <vector>

#include "ulna/backend/tensor.hpp"
#include "ulna/random.hpp"

namespace ulna::benchmarks {

/// A dense tensor on a 64-byte boundary.
struct Batch {
  Batch(Shape shape, int batch) : memory(static_cast<std::size_t>(shape.size() * batch) + 16) {
    Random random(Seed{1});
    for (float& x : memory) x = random.uniform(-1.0f, 1.0f);
    const auto aligned = (64 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64) % 64 / sizeof(float);
    view = {memory.data() + aligned, shape, batch, shape.channels, static_cast<std::ptrdiff_t>(shape.size())};
  }
  std::vector<float> memory;
  Tensor<float> view;
};

using ScratchBytes = std::size_t (*)(const Call<float>&, int threads);

/// Times `kernel` on state.range(0) threads; `amount` is counted once a call, in 10^9 `unit`.
inline void measure(benchmark::State& state, Call<float>& call, Kernel<float> kernel, ScratchBytes scratch_bytes,
                    const char* unit, double amount) {
  const int threads = static_cast<int>(state.range(0));
  std::vector<std::byte> scratch((scratch_bytes ? scratch_bytes(call, threads) : 0) + 64);
  const auto address = reinterpret_cast<std::uintptr_t>(scratch.data());
  call.scratch = std::span(scratch).subspan((64 - address % 64) % 64);
  tbb::task_arena arena(threads);
  arena.execute([&] { kernel(call); });
  for (auto _ : state) {
    arena.execute([&] { kernel(call); });
    benchmark::DoNotOptimize(call.output.data);
    benchmark::ClobberMemory();
  }
  state.counters[unit] = benchmark::Counter(amount * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

using Arguments = std::vector<std::int64_t>;

/// Registers `run` for every case, each on one thread and on two. `names` are those of the arguments behind "threads".
template <class Run>
void list(const std::string& name, std::vector<std::string> names, const std::vector<Arguments>& cases, Run run) {
  auto* b = benchmark::RegisterBenchmark(name.c_str(), run);
  names.insert(names.begin(), "threads");
  b->ArgNames(names)->Unit(benchmark::kMillisecond)->UseRealTime();
  for (const std::int64_t threads : {1, 2})
    for (Arguments c : cases) {
      c.insert(c.begin(), threads);
      b->Args(c);
    }
}

}  // namespace ulna::benchmarks
