// SPDX-License-Identifier: MIT
// A thin vocabulary of SIMD operations over the vector extensions of GCC and clang.
//
// Two translation units with different -march flags may be linked together, and the linker keeps one copy of each
// inline function. So every function here is always inlined (no copy to share), and every kernel template carries an
// `Isa` as a template argument, which makes its mangled name differ where its code does.
#pragma once

#include <cstdint>
#include <type_traits>

#include "ulna/bf16.hpp"

namespace ulna {

/// How products of bf16 numbers are summed in float; see pair_products.hpp.
enum class PairDot : std::uint8_t {
  widened,        ///< as floats
  avx512,         ///< two products an instruction: AVX-512-BF16
  tiles,          ///< 16 x 16 x 32 products an instruction: AMX-BF16
  emulated_tiles  ///< the same loops without the unit, to test them
};

/// What the kernels of one translation unit may assume of the processor.
template <int VectorBytes, bool HasFma, PairDot Dot = PairDot::widened>
struct Isa {
  static constexpr int width = VectorBytes / 4;                  ///< floats in a vector
  static constexpr int registers = VectorBytes == 64 ? 32 : 16;  ///< vector registers
  static constexpr bool fma = HasFma;                            ///< a * b + c rounds once
  static constexpr PairDot pair_dot = Dot;
};

#if defined(__AVX512F__) && (defined(__AMX_BF16__) || defined(__AMXBF16__))  // GCC and newer clang, clang 14
using NativeIsa = Isa<64, true, PairDot::tiles>;
#elif defined(__AVX512F__) && defined(__AVX512BF16__)
using NativeIsa = Isa<64, true, PairDot::avx512>;
#elif defined(__AVX512F__)
using NativeIsa = Isa<64, true>;
#elif defined(__AVX__) && defined(__FMA__)
using NativeIsa = Isa<32, true>;
#elif defined(__AVX__)
using NativeIsa = Isa<32, false>;
#elif defined(__aarch64__)
using NativeIsa = Isa<16, true>;
#else
using NativeIsa = Isa<16, false>;
#endif

/// Width elements of T in one vector register.
template <class T, int Width>
struct Vec {
  typedef T Native __attribute__((vector_size(Width * sizeof(T))));
  typedef std::uint32_t Bits __attribute__((vector_size(Width * 4)));
  static constexpr int width = Width;
  using Element = T;

  Native v;

  [[gnu::always_inline]] static inline Vec zero() { return {Native{}}; }
  [[gnu::always_inline]] static inline Vec broadcast(T x) { return {x - Native{}}; }
  /// No alignment is needed.
  [[gnu::always_inline]] static inline Vec load(const T* p) {
    Vec r;
    __builtin_memcpy(&r.v, p, sizeof(Native));
    return r;
  }
  /// The first n elements; the others are zero, and their memory is not touched.
  [[gnu::always_inline]] static inline Vec load_partial(const T* p, int n) {
    Vec r = zero();
    for (int i = 0; i < Width; ++i)
      if (i < n) r.v[i] = p[i];
    return r;
  }
  /// From and to bf16 the lanes are converted: exactly, and rounded as bf16 says.
  [[gnu::always_inline]] static inline Vec load(const bf16* p) {
    static_assert(std::is_same_v<T, float>);
    Vec<std::uint16_t, Width> upper;
    __builtin_memcpy(&upper.v, p, sizeof(upper.v));
    return {(Native)(__builtin_convertvector(upper.v, Bits) << 16)};
  }
  [[gnu::always_inline]] static inline Vec load_partial(const bf16* p, int n) {
    Vec r = zero();
    for (int i = 0; i < Width; ++i)
      if (i < n) r.v[i] = p[i];
    return r;
  }
  [[gnu::always_inline]] inline void store(T* p) const { __builtin_memcpy(p, &v, sizeof(Native)); }
  [[gnu::always_inline]] inline void store(bf16* p) const {
    const Vec<std::uint32_t, Width> bits{bf16_bits()};
    const auto upper = __builtin_convertvector(bits.v, typename Vec<std::uint16_t, Width>::Native);
    __builtin_memcpy(static_cast<void*>(p), &upper, sizeof(upper));
  }
  /// Past the caches, where the processor can: for lines that are written whole and not read again soon. `p` must be
  /// aligned to the vector, and streaming_done() must follow before another thread reads.
  [[gnu::always_inline]] inline void store_streaming(T* p) const {
    static_assert(std::is_same_v<T, float>);
#if defined(__AVX512F__)
    if constexpr (sizeof(Native) == 64) {
#if defined(__clang__)
      __builtin_nontemporal_store(v, reinterpret_cast<Native*>(p));
#else
      __builtin_ia32_movntps512(p, v);
#endif
      return;
    }
#endif
    store(p);
  }
  /// Bits of the lanes as bf16.
  [[gnu::always_inline]] inline Bits bf16_bits() const {
    static_assert(std::is_same_v<T, float>);
    const Bits u = (Bits)v;
    const Bits rounded = u + 0x7FFFu + ((u >> 16) & 1u);
    return (v == v ? rounded : u | 0x00400000u) >> 16;
  }
  /// Stores the first n elements only.
  template <class U>
  [[gnu::always_inline]] inline void store_partial(U* p, int n) const {
    for (int i = 0; i < Width; ++i)
      if (i < n) p[i] = static_cast<U>(v[i]);
  }

  [[gnu::always_inline]] friend inline Vec operator+(Vec a, Vec b) { return {a.v + b.v}; }
  [[gnu::always_inline]] friend inline Vec operator-(Vec a, Vec b) { return {a.v - b.v}; }
  [[gnu::always_inline]] friend inline Vec operator*(Vec a, Vec b) { return {a.v * b.v}; }
  [[gnu::always_inline]] friend inline Vec operator/(Vec a, Vec b) { return {a.v / b.v}; }
  /// a b + c, rounded once where the processor can.
  [[gnu::always_inline]] friend inline Vec fma(Vec a, Vec b, Vec c) { return {a.v * b.v + c.v}; }
  [[gnu::always_inline]] friend inline Vec max(Vec a, Vec b) { return {a.v > b.v ? a.v : b.v}; }
  [[gnu::always_inline]] friend inline Vec min(Vec a, Vec b) { return {a.v < b.v ? a.v : b.v}; }
  /// Lane by lane: x > y ? a : b.
  [[gnu::always_inline]] friend inline Vec select_greater(Vec x, Vec y, Vec a, Vec b) {
    return {x.v > y.v ? a.v : b.v};
  }
  [[gnu::always_inline]] friend inline Vec select_less(Vec x, Vec y, Vec a, Vec b) { return {x.v < y.v ? a.v : b.v}; }
};

template <class Isa>
using FloatVec = Vec<float, Isa::width>;

/// Asks for the cache line at p, which is read soon: into the second cache, or into the nearest. To GCC a function that
/// only asks has no effect, and it drops calls of it: hence the empty instruction.
[[gnu::always_inline]] inline void prefetch(const void* p) {
  __builtin_prefetch(p, 0, 2);
  __asm__ volatile("" : : "r"(p));
}
[[gnu::always_inline]] inline void prefetch_near(const void* p) {
  __builtin_prefetch(p, 0, 3);
  __asm__ volatile("" : : "r"(p));
}

/// Whatever was stored past the caches is visible to those who see what this thread writes next.
[[gnu::always_inline]] inline void streaming_done() {
#if defined(__SSE__)
  __builtin_ia32_sfence();
#endif
}

/// Sum of the lanes, in pairs at a fixed distance (the same order on every processor of one width).
template <class T, int Width>
[[gnu::always_inline]] inline T reduce_add(Vec<T, Width> x) {
  T lane[Width];
  x.store(lane);
  for (int half = Width / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
  return lane[0];
}

/// Largest lane.
template <class T, int Width>
[[gnu::always_inline]] inline T reduce_max(Vec<T, Width> x) {
  T lane[Width];
  x.store(lane);
  for (int half = Width / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lane[i] = lane[i] > lane[i + half] ? lane[i] : lane[i + half];
  return lane[0];
}

/// e^x to about 2 ulp: x = n ln 2 + r with |r| <= ln 2 / 2, a polynomial for e^r, and n added to the exponent.
/// Results below the smallest normal number are zero; above the largest, infinity; NaN stays NaN.
template <int Width>
[[gnu::always_inline]] inline Vec<float, Width> exp(Vec<float, Width> x) {
  using V = Vec<float, Width>;
  using Bits = typename Vec<std::int32_t, Width>::Native;
  constexpr float lowest = -87.33654f;
  constexpr float highest = 88.72283f;
  constexpr float half_of_it = 88.0f;  // above, the result is doubled last, since 2^n itself would overflow
  const V clamped = min(max(x, V::broadcast(lowest)), V::broadcast(highest));
  const V magic = V::broadcast(0x1.8p23f);  // adding it rounds to the nearest integer, kept in the low bits
  const V shifted = fma(clamped, V::broadcast(0x1.715476p0f), magic);
  const V n = shifted - magic;
  V r = clamped - n * V::broadcast(0x1.62e4p-1f);
  r = r - n * V::broadcast(0x1.7f7d1cp-20f);
  V p = V::broadcast(0x1.6850e4p-10f);
  p = fma(p, r, V::broadcast(0x1.123bccp-7f));
  p = fma(p, r, V::broadcast(0x1.555b98p-5f));
  p = fma(p, r, V::broadcast(0x1.55548ep-3f));
  p = fma(p, r, V::broadcast(0x1.fffff8p-2f));
  p = fma(p, r, V::broadcast(1.0f));
  p = fma(p, r, V::broadcast(1.0f));
  const V doubled = select_greater(clamped, V::broadcast(half_of_it), V::broadcast(2.0f), V::broadcast(1.0f));
  const Bits exponent = ((Bits)shifted.v - ((Bits)doubled.v >> 30)) << 23;  // the bits of 2.0f are 1 << 30
  V y = V{(typename V::Native)((Bits)p.v + exponent)} * doubled;
  y = select_less(x, V::broadcast(lowest), V::zero(), y);
  y = select_greater(x, V::broadcast(highest), y * V::broadcast(__builtin_inff()), y);
  return {x.v == x.v ? y.v : x.v};
}

/// e^(-x^2 / 2) / sqrt(2 pi).
template <int Width>
[[gnu::always_inline]] inline Vec<float, Width> normal_density(Vec<float, Width> x) {
  using V = Vec<float, Width>;
  return exp(x * x * V::broadcast(-0.5f)) * V::broadcast(0.39894228f);
}

/// The cumulative normal distribution to about 1e-7: for z = |x| the tail is density(z) times a polynomial in
/// t = 1 / (1 + 0.2316419 z) of degree 5 (Abramowitz and Stegun 26.2.17).
template <int Width>
[[gnu::always_inline]] inline Vec<float, Width> phi(Vec<float, Width> x) {
  using V = Vec<float, Width>;
  const V z = max(x, V::zero() - x);
  const V t = V::broadcast(1.0f) / fma(z, V::broadcast(0.2316419f), V::broadcast(1.0f));
  V p = V::broadcast(1.330274429f);
  p = fma(p, t, V::broadcast(-1.821255978f));
  p = fma(p, t, V::broadcast(1.781477937f));
  p = fma(p, t, V::broadcast(-0.356563782f));
  p = fma(p, t, V::broadcast(0.319381530f));
  const V tail = normal_density(z) * p * t;
  return select_greater(x, V::zero(), V::broadcast(1.0f) - tail, tail);
}

/// 1 / (1 + e^-x).
template <int Width>
[[gnu::always_inline]] inline Vec<float, Width> sigmoid(Vec<float, Width> x) {
  using V = Vec<float, Width>;
  return V::broadcast(1.0f) / (V::broadcast(1.0f) + exp(V::zero() - x));
}

}  // namespace ulna
