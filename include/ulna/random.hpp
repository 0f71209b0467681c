// SPDX-License-Identifier: MIT
// Counter-based random numbers: value = f(seed, stream, counter), so that what a sample or a step draws does not depend
// on which thread draws it or on what was drawn before.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>

namespace ulna {

/// The seed of a run. Same seed, same bits, on any number of threads.
struct Seed {
  std::uint64_t value = 0;
};

/// Philox 4x32 with ten rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
/// Maps a 128-bit counter under a 64-bit key to 128 random bits.
constexpr std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::uint64_t key) {
  auto k0 = static_cast<std::uint32_t>(key);
  auto k1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * counter[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<std::uint32_t>(p1 >> 32) ^ counter[1] ^ k0, static_cast<std::uint32_t>(p1),
               static_cast<std::uint32_t>(p0 >> 32) ^ counter[3] ^ k1, static_cast<std::uint32_t>(p0)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return counter;
}

/// A stream of random numbers, fully determined by (seed, stream, substream): give every sample of every step its own.
class Random {
 public:
  constexpr explicit Random(Seed seed, std::uint64_t stream = 0, std::uint32_t substream = 0)
      : key_(seed.value),
        counter_{0, substream, static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(stream >> 32)} {}

  /// 32 random bits.
  constexpr std::uint32_t bits() {
    if (left_ == 0) {
      block_ = philox(counter_, key_);
      ++counter_[0];
      left_ = 4;
    }
    return block_[static_cast<std::size_t>(--left_)];
  }

  /// Uniform in [0, 1), 24 bits.
  constexpr float uniform() { return static_cast<float>(bits() >> 8) * 0x1p-24f; }

  /// Uniform in [low, high).
  constexpr float uniform(float low, float high) { return low + (high - low) * uniform(); }

  /// Uniform integer in [0, count); count must be positive. Bias below count / 2^32.
  constexpr int below(int count) {
    return static_cast<int>((std::uint64_t{bits()} * static_cast<std::uint64_t>(count)) >> 32);
  }

  /// True with the given probability.
  constexpr bool chance(float probability) { return uniform() < probability; }

  /// Standard normal (Box-Muller; two draws a value, so that the stream position stays simple).
  float normal() {
    const double radius = std::sqrt(-2.0 * std::log((static_cast<double>(bits()) + 1.0) * 0x1p-32));
    return static_cast<float>(radius * std::cos(2.0 * std::numbers::pi * static_cast<double>(bits()) * 0x1p-32));
  }

 private:
  std::uint64_t key_;
  std::array<std::uint32_t, 4> counter_;
  std::array<std::uint32_t, 4> block_{};
  int left_ = 0;
};

}  // namespace ulna
