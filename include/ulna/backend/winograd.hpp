// SPDX-License-Identifier: MIT
// The transforms of Winograd's convolutions (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks",
// 2016). Some neighbouring outputs y of a line, their inputs d and the three taps g are joined, by way of the values of
// polynomials at a few points, by
//
//   y = A^T ((G g) . (B^T d))
//
// and in two dimensions by the same on both axes. The adjoints give the gradient by the taps:
// dg = G^T ((B^T d) . (A dy)).
//
// The transform of a line is a struct: `from` values go in, `to` come out. Where it reads a map, `advance` is the
// number of pixels from one tile to the next. `order`: of the rows that come out, so that neighbours share most.
//
// V is one number or a vector of them: it has broadcast(float), +, -, * and fma().
//
// Inputs and outputs are transformed by chains of additions and multiply-adds that a compiler can round in one way
// only, wherever they are inlined: a tile gives the same bits at the border of a map and inside.
#pragma once

namespace ulna::winograd {

inline constexpr int taps = 3;  ///< of a kernel, along an axis

/// F(4x4, 3x3), with the points 0, 1, -1, 2, -2 and infinity: 36 products for
/// 16 outputs instead of 144.
struct F4 {
  static constexpr int outputs = 4;                 ///< of a tile, along an axis
  static constexpr int points = 6;                  ///< inputs of a tile, and points of interpolation, along an axis
  static constexpr int products = points * points;  ///< points of a tile
  static constexpr int tile_pixels = outputs * outputs;  ///< outputs of a tile

  /// B^T d.
  struct InputLine {
    static constexpr int advance = outputs;
    static constexpr int from = points;
    static constexpr int to = points;
    template <class V>
    [[gnu::always_inline]] static constexpr void apply(const V (&d)[from], V (&o)[to]) {
      const V two = V::broadcast(2.0f), four = V::broadcast(4.0f), minus_four = V::broadcast(-4.0f);
      const V even = fma(minus_four, d[2], d[4]);
      const V odd = fma(minus_four, d[1], d[3]);
      const V inner = d[4] - d[2];
      const V outer = d[3] - d[1];
      o[0] = fma(four, d[0] - d[2], inner);
      o[1] = even + odd;
      o[2] = even - odd;
      o[3] = fma(two, outer, inner);
      o[4] = inner - two * outer;
      o[5] = fma(minus_four, outer, d[5] - d[3]);
    }
  };

  /// A^T m.
  struct OutputLine {
    static constexpr int from = points;
    static constexpr int to = outputs;
    template <class V>
    [[gnu::always_inline]] static constexpr void apply(const V (&m)[from], V (&y)[to]) {
      const V two = V::broadcast(2.0f), four = V::broadcast(4.0f), eight = V::broadcast(8.0f);
      const V sum1 = m[1] + m[2], difference1 = m[1] - m[2];
      const V sum2 = m[3] + m[4], difference2 = m[3] - m[4];
      y[0] = (m[0] + sum1) + sum2;
      y[1] = fma(two, difference2, difference1);
      y[2] = fma(four, sum2, sum1);
      y[3] = fma(eight, difference2, difference1) + m[5];
    }
  };

  /// G g.
  struct WeightLine {
    static constexpr int from = taps;
    static constexpr int to = points;
    template <class V>
    [[gnu::always_inline]] static constexpr void apply(const V (&g)[from], V (&u)[to]) {
      const V quarter = V::broadcast(0.25f), sixth = V::broadcast(-1.0f / 6.0f), small = V::broadcast(1.0f / 24.0f),
              twelfth = V::broadcast(1.0f / 12.0f), four = V::broadcast(4.0f);
      const V ends = (g[0] + g[2]) * sixth;
      const V wide = fma(four, g[2], g[0]) * small;
      u[0] = g[0] * quarter;
      u[1] = fma(sixth, g[1], ends);
      u[2] = ends - g[1] * sixth;
      u[3] = fma(twelfth, g[1], wide);
      u[4] = wide - g[1] * twelfth;
      u[5] = g[2];
    }
  };

  /// A dy: the adjoint of OutputLine.
  struct OutputGradientLine {
    static constexpr int advance = outputs;
    static constexpr int from = outputs;
    static constexpr int to = points;
    template <class V>
    [[gnu::always_inline]] static constexpr void apply(const V (&y)[from], V (&m)[to]) {
      const V two = V::broadcast(2.0f), four = V::broadcast(4.0f);
      const V even1 = y[0] + y[2], odd1 = y[1] + y[3];
      const V even2 = fma(four, y[2], y[0]), odd2 = fma(four, y[3], y[1]);
      m[0] = y[0];
      m[1] = even1 + odd1;
      m[2] = even1 - odd1;
      m[3] = fma(two, odd2, even2);
      m[4] = even2 - two * odd2;
      m[5] = y[3];
    }
  };

  /// G^T u: the adjoint of WeightLine.
  struct WeightGradientLine {
    static constexpr int from = points;
    static constexpr int to = taps;
    template <class V>
    [[gnu::always_inline]] static constexpr void apply(const V (&u)[from], V (&g)[to]) {
      const V quarter = V::broadcast(0.25f), sixth = V::broadcast(-1.0f / 6.0f), small = V::broadcast(1.0f / 24.0f),
              twelfth = V::broadcast(1.0f / 12.0f);
      const V sum1 = u[1] + u[2], difference1 = u[1] - u[2];
      const V sum2 = u[3] + u[4], difference2 = u[3] - u[4];
      g[0] = fma(quarter, u[0], fma(small, sum2, sixth * sum1));
      g[1] = fma(twelfth, difference2, sixth * difference1);
      g[2] = fma(sixth, sum1 - sum2, u[5]);
    }
  };
};

/// F(6x6, 3x3), with the points 0, infinity, 1, -1, 2, -2, 1/2 and -1/2: 64
/// products for 36 outputs instead of 324. In float its rounding errors are
/// about twice those of F4.
struct F6 {
  static constexpr int outputs = 6;
  static constexpr int points = 8;
  static constexpr int products = points * points;
  static constexpr int tile_pixels = outputs * outputs;

  /// B^T d.
  struct InputLine {
    static constexpr int advance = outputs;
    static constexpr int from = points;
    static constexpr int to = points;
    template <class V>
    [[gnu::always_inline]] static constexpr void apply(const V (&d)[from], V (&o)[to]) {
      const V wide = V::broadcast(5.25f), middle = V::broadcast(-4.25f), four = V::broadcast(4.0f),
              half = V::broadcast(0.5f), quarter = V::broadcast(0.25f), five = V::broadcast(-5.0f),
              five_quarters = V::broadcast(-1.25f);
      o[0] = fma(wide, d[4] - d[2], d[0] - d[6]);
      o[1] = fma(wide, d[3] - d[5], d[7] - d[1]);
      const V even1 = fma(middle, d[4], d[2] + d[6]);
      const V odd1 = fma(middle, d[3], d[1] + d[5]);
      o[2] = even1 + odd1;
      o[3] = even1 - odd1;
      const V even2 = fma(quarter, d[2], fma(five_quarters, d[4], d[6]));
      const V odd2 = fma(four, d[5], fma(five, d[3], d[1]));
      o[4] = fma(half, odd2, even2);
      o[5] = even2 - half * odd2;
      const V even3 = fma(four, d[2], fma(five, d[4], d[6]));
      const V odd3 = fma(four, d[1], fma(five, d[3], d[5]));
      o[6] = fma(half, odd3, even3);
      o[7] = even3 - half * odd3;
    }
  };

  /// A^T m.
  struct OutputLine {
    static constexpr int from = points;
    static constexpr int to = outputs;
    static constexpr int order[to] = {0, 2, 4, 1, 3, 5};
    template <class V>
    [[gnu::always_inline]] static constexpr void apply(const V (&m)[from], V (&y)[to]) {
      const V sum1 = m[2] + m[3], difference1 = m[2] - m[3];
      const V sum2 = m[4] + m[5], difference2 = m[4] - m[5];
      const V sum3 = m[6] + m[7], difference3 = m[6] - m[7];
      y[0] = (m[0] + sum1) + (sum2 + sum3);
      y[2] = fma(V::broadcast(0.25f), sum3, fma(V::broadcast(4.0f), sum2, sum1));
      y[4] = fma(V::broadcast(0.0625f), sum3, fma(V::broadcast(16.0f), sum2, sum1));
      y[1] = fma(V::broadcast(0.5f), difference3, fma(V::broadcast(2.0f), difference2, difference1));
      y[3] = fma(V::broadcast(0.125f), difference3, fma(V::broadcast(8.0f), difference2, difference1));
      y[5] = fma(V::broadcast(0.03125f), difference3, fma(V::broadcast(32.0f), difference2, difference1)) + m[1];
    }
  };

  /// G g.
  struct WeightLine {
    static constexpr int from = taps;
    static constexpr int to = points;
    template <class V>
    [[gnu::always_inline]] static constexpr void apply(const V (&g)[from], V (&u)[to]) {
      const V a = V::broadcast(-2.0f / 9.0f), b = V::broadcast(1.0f / 90.0f), c = V::broadcast(1.0f / 45.0f),
              four = V::broadcast(4.0f), d = V::broadcast(8.0f / 45.0f), e = V::broadcast(16.0f / 45.0f);
      const V ends = (g[0] + g[2]) * a;
      const V wide = fma(four, g[2], g[0]) * b;
      const V narrow = fma(four, g[0], g[2]) * d;
      u[0] = g[0];
      u[1] = g[2];
      u[2] = fma(a, g[1], ends);
      u[3] = ends - g[1] * a;
      u[4] = fma(c, g[1], wide);
      u[5] = wide - g[1] * c;
      u[6] = fma(e, g[1], narrow);
      u[7] = narrow - g[1] * e;
    }
  };
};

}  // namespace ulna::winograd
