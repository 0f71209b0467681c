// SPDX-License-Identifier: MIT
// Multi-head attention in tiles of queries and keys. In float, scores live in a block's shared memory, a tile at a
// time, and softmax is taken online (Milakov and Gimelshein 2018; Dao et al. 2022). On tensor cores they stay in
// registers (attention_program.hpp); Arithmetic::exact, and heads whose tiles cannot be copied in whole chunks, do
// without.
//
// An Execution that runs attention on tensor cores has run_tiles (convolution.hpp).
#pragma once

#include <algorithm>
#include <initializer_list>

#include "ulna/backend/cuda/attention_program.hpp"
#include "ulna/backend/cuda/attention_tiles.hpp"
#include "ulna/backend/cuda/convolution_operand.hpp"
#include "ulna/backend/workspace.hpp"

namespace ulna::cuda {

namespace bodies {

/// y[i] = sum_j P[i][j] v[j]; with `statistics` these instead of y. One block a tile of queries.
template <class T>
struct Attention {
  using State = NoState;
  HeadTiles heads;
  Tensor<T> q, k, v, y, dy;
  QueryStatistics* statistics;

  static constexpr int phases_per_tile = 4;
  ULNA_HOST_DEVICE int phases() const { return 1 + phases_per_tile * heads.tiles() + 1; }
  static constexpr std::size_t shared_bytes(int tile, int size) {
    const auto pitch = static_cast<std::size_t>(size + 1);
    const auto t = static_cast<std::size_t>(tile);
    return sizeof(float) * (4 * t * pitch + 2 * t * t + 3 * t);
  }

  /// The parts of shared memory.
  struct Shared {
    float *queries, *keys, *values, *sums;  ///< [tile][pitch]
    float *scores, *weights;                ///< [tile][tile]
    float *largest, *total;                 ///< [tile]; `largest` twice, before and after a tile of keys
    int tile;

    /// The largest scores of the tiles of keys before tile `step`.
    ULNA_HOST_DEVICE float* largest_before(int step) const { return largest + (step & 1) * tile; }

    ULNA_HOST_DEVICE Shared(const HeadTiles& h, const Position& at) {
      const int rows = h.tile * h.pitch();
      queries = at.shared_as<float>();
      keys = queries + rows;
      values = keys + rows;
      sums = values + rows;
      scores = sums + rows;
      weights = scores + h.tile * h.tile;
      largest = weights + h.tile * h.tile;
      total = largest + 2 * h.tile;
      tile = h.tile;
    }
  };

  ULNA_HOST_DEVICE void operator()(int phase, const Position& at, State&) const {
    const Shared s(heads, at);
    const HeadTiles::Place place = heads.place_of(at.block);
    if (phase == 0) return begin(s, place, at.thread);
    const int tile = (phase - 1) / phases_per_tile;
    if (tile == heads.tiles()) return finish(s, place, at.thread);
    const int first = tile * heads.tile;
    switch ((phase - 1) % phases_per_tile) {
      case 0:
        heads.load(k, place, first, s.keys, at.thread);
        heads.load(v, place, first, s.values, at.thread);
        break;
      case 1:
        return score(s, first, at.thread);
      case 2:
        return weigh(s, s.largest_before(tile), s.largest_before(tile + 1), at.thread);
      default:
        return accumulate(s, s.largest_before(tile), s.largest_before(tile + 1), at.thread);
    }
  }

 private:
  ULNA_HOST_DEVICE void begin(const Shared& s, const HeadTiles::Place& place, int thread) const {
    heads.load(q, place, place.first, s.queries, thread);
    for (int e = thread; e < heads.tile * heads.pitch(); e += HeadTiles::threads) s.sums[e] = 0.0f;
    for (int i = thread; i < heads.tile; i += HeadTiles::threads) {
      s.largest[i] = -INFINITY;
      s.total[i] = 0.0f;
    }
  }

  ULNA_HOST_DEVICE void score(const Shared& s, int first, int thread) const {
    const float scale = 1.0f / std::sqrt(static_cast<float>(heads.size));
    for (int e = thread; e < heads.tile * heads.tile; e += HeadTiles::threads) {
      const int i = e / heads.tile;
      const int j = e - i * heads.tile;
      s.scores[e] = first + j < heads.tokens
                        ? scale * heads.dot(s.queries + i * heads.pitch(), s.keys + j * heads.pitch())
                        : -INFINITY;
    }
  }

  /// Scores to weights exp(score - largest so far). Every tile holds a key, so that the largest is finite.
  ULNA_HOST_DEVICE void weigh(const Shared& s, const float* before, float* after, int thread) const {
    for (int e = thread; e < heads.tile * heads.tile; e += HeadTiles::threads) {
      const int i = e / heads.tile;
      float largest = before[i];
      for (int j = 0; j < heads.tile; ++j) {
        const float score = s.scores[i * heads.tile + j];
        largest = score > largest ? score : largest;
      }
      s.weights[e] = std::exp(s.scores[e] - largest);
      if (e == i * heads.tile) after[i] = largest;
    }
  }

  ULNA_HOST_DEVICE void accumulate(const Shared& s, const float* before, const float* after, int thread) const {
    for (int e = thread; e < heads.tile * heads.pitch(); e += HeadTiles::threads) {
      const int i = e / heads.pitch();
      const int c = e - i * heads.pitch();
      const float keep = std::exp(before[i] - after[i]);
      const float* const weights = s.weights + i * heads.tile;
      float sum = 0.0f;
      if (c < heads.size) {
        for (int j = 0; j < heads.tile; ++j) sum += weights[j] * s.values[j * heads.pitch() + c];
        s.sums[e] = s.sums[e] * keep + sum;
      } else {  // the column between rows: the weights' own sum
        for (int j = 0; j < heads.tile; ++j) sum += weights[j];
        s.total[i] = s.total[i] * keep + sum;
      }
    }
  }

  ULNA_HOST_DEVICE void finish(const Shared& s, const HeadTiles::Place& place, int thread) const {
    if (statistics) return store_statistics(s, place, thread);
    for (int e = thread; e < heads.tile * heads.size; e += HeadTiles::threads) {
      const int i = e / heads.size;
      const int c = e - i * heads.size;
      if (place.first + i < heads.tokens)
        y.pixel(place.sample, place.first + i)[place.head * heads.size + c] =
            static_cast<T>(s.sums[i * heads.pitch() + c] / s.total[i]);
    }
  }

  ULNA_HOST_DEVICE void store_statistics(const Shared& s, const HeadTiles::Place& place, int thread) const {
    const float* const largest = s.largest_before(heads.tiles());
    for (int i = thread; i < heads.tile && place.first + i < heads.tokens; i += HeadTiles::threads) {
      const T* const g = dy.pixel(place.sample, place.first + i) + place.head * heads.size;
      float along = 0.0f;
      for (int c = 0; c < heads.size; ++c) along += static_cast<float>(g[c]) * s.sums[i * heads.pitch() + c];
      statistics[heads.statistic_of(place, place.first + i)] = {largest[i] + std::log(s.total[i]), along / s.total[i]};
    }
  }
};

/// One side of the gradient, for a tile of queries or of keys:
///   of queries  dq[i] = sum_j dS[i][j] k[j]
///   of keys     dk[j] = sum_i dS[i][j] q[i],  dv[j] = sum_i P[i][j] dy[i]
/// The block's own rows are (q, dy) or (k, v), the others it goes through are (k, v) or (q, dy).
template <class T>
struct AttentionGradient {
  using State = NoState;
  HeadTiles heads;
  Tensor<T> q, k, v, dy, gradients;  ///< gradients {3 C}: dq, dk, dv side by side
  const QueryStatistics* statistics;
  bool of_keys;

  static constexpr int phases_per_tile = 3;
  ULNA_HOST_DEVICE int phases() const { return 1 + phases_per_tile * heads.tiles() + 1; }
  static constexpr std::size_t shared_bytes(int tile, int size) {
    const auto pitch = static_cast<std::size_t>(size + 1);
    const auto t = static_cast<std::size_t>(tile);
    return sizeof(float) * (6 * t * pitch + 2 * t * t);
  }

  struct Shared {
    float *own, *other, *sums;  ///< two each, [tile][pitch], `rows` apart
    float *slopes, *weights;    ///< dS and P, [own][other]
    int rows;

    ULNA_HOST_DEVICE Shared(const HeadTiles& h, const Position& at) {
      rows = h.tile * h.pitch();
      own = at.shared_as<float>();
      other = own + 2 * rows;
      sums = other + 2 * rows;
      slopes = sums + 2 * rows;
      weights = slopes + h.tile * h.tile;
    }
  };

  ULNA_HOST_DEVICE void operator()(int phase, const Position& at, State&) const {
    const Shared s(heads, at);
    const HeadTiles::Place place = heads.place_of(at.block);
    if (phase == 0) {
      load(s, s.own, of_keys, place, place.first, at.thread);
      for (int e = at.thread; e < 2 * heads.tile * heads.pitch(); e += HeadTiles::threads) s.sums[e] = 0.0f;
      return;
    }
    const int tile = (phase - 1) / phases_per_tile;
    if (tile == heads.tiles()) return finish(s, place, at.thread);
    const int first = tile * heads.tile;
    switch ((phase - 1) % phases_per_tile) {
      case 0:
        return load(s, s.other, !of_keys, place, first, at.thread);
      case 1:
        return weigh(s, place, first, at.thread);
      default:
        return accumulate(s, at.thread);
    }
  }

 private:
  ULNA_HOST_DEVICE void load(const Shared& s, float* to, bool keys, const HeadTiles::Place& place, int first,
                             int thread) const {
    heads.load(keys ? k : q, place, first, to, thread);
    heads.load(keys ? v : dy, place, first, to + s.rows, thread);
  }

  /// P = exp(score - log_sum), dS = P (dy . v - along) / sqrt(size); 0 beyond the last token.
  ULNA_HOST_DEVICE void weigh(const Shared& s, const HeadTiles::Place& place, int first, int thread) const {
    const float scale = 1.0f / std::sqrt(static_cast<float>(heads.size));
    for (int e = thread; e < heads.tile * heads.tile; e += HeadTiles::threads) {
      const int r = e / heads.tile;
      const int o = e - r * heads.tile;
      float weight = 0.0f;
      float slope = 0.0f;
      if (place.first + r < heads.tokens && first + o < heads.tokens) {
        const int query = of_keys ? first + o : place.first + r;
        const QueryStatistics of_query = statistics[heads.statistic_of(place, query)];
        const float score = scale * heads.dot(s.own + r * heads.pitch(), s.other + o * heads.pitch());
        const float dp = heads.dot(s.own + s.rows + r * heads.pitch(), s.other + s.rows + o * heads.pitch());
        weight = std::exp(score - of_query.log_sum);
        slope = weight * (dp - of_query.along) * scale;
      }
      s.weights[e] = weight;
      s.slopes[e] = slope;
    }
  }

  ULNA_HOST_DEVICE void accumulate(const Shared& s, int thread) const {
    for (int e = thread; e < heads.tile * heads.size; e += HeadTiles::threads) {
      const int r = e / heads.size;
      const int c = e - r * heads.size;
      float by_slope = 0.0f;
      float by_weight = 0.0f;
      for (int o = 0; o < heads.tile; ++o) {
        by_slope += s.slopes[r * heads.tile + o] * s.other[o * heads.pitch() + c];
        if (of_keys) by_weight += s.weights[r * heads.tile + o] * s.other[s.rows + o * heads.pitch() + c];
      }
      s.sums[r * heads.pitch() + c] += by_slope;
      s.sums[s.rows + r * heads.pitch() + c] += by_weight;
    }
  }

  ULNA_HOST_DEVICE void finish(const Shared& s, const HeadTiles::Place& place, int thread) const {
    const int channels = heads.heads * heads.size;
    for (int e = thread; e < heads.tile * heads.size; e += HeadTiles::threads) {
      const int r = e / heads.size;
      const int c = e - r * heads.size;
      if (place.first + r >= heads.tokens) continue;
      T* const to = gradients.pixel(place.sample, place.first + r) + place.head * heads.size + c;
      if (of_keys) {
        to[channels] = static_cast<T>(s.sums[r * heads.pitch() + c]);
        to[2 * channels] = static_cast<T>(s.sums[s.rows + r * heads.pitch() + c]);
      } else {
        to[0] = static_cast<T>(s.sums[r * heads.pitch() + c]);
      }
    }
  }
};

template <class T>
HeadTiles tiles_of(const Call<T>& call, const Tensor<T>& q, int tile) {
  return {static_cast<int>(q.pixels()), call.node->heads, q.shape.channels / call.node->heads, tile};
}

/// Tiles of at most 32 tokens that fit the shared memory every device has.
template <class Body, class T>
HeadTiles tiles_for(const Call<T>& call, const Tensor<T>& q) {
  HeadTiles heads = tiles_of(call, q, 32);
  while (heads.tile > 1 && Body::shared_bytes(heads.tile, heads.size) > 48 * 1024) heads.tile /= 2;
  return heads;
}

}  // namespace bodies

namespace detail {

/// Whether heads of all these can be copied to tiles for tensor cores.
template <class T>
bool heads_in_chunks(const Node& node, const std::initializer_list<Tensor<T>>& all) {
  const int size = all.begin()->shape.channels / node.heads;
  return size <= 64 && size * static_cast<int>(sizeof(T)) % chunk_bytes == 0 &&
         std::all_of(all.begin(), all.end(), [](const Tensor<T>& x) { return in_chunks(x); });
}

template <class Program, class Execution>
void run_heads(const Execution& on, const char* name, int batch, const Program& program) {
  ProductPlan plan;
  plan.row_tiles = static_cast<int>(program.heads.blocks(batch));
  plan.column_tiles = 1;
  run_tiles(on, name, plan, program);
}

template <Arithmetic A, int Size, class Execution, class T>
void attention_by_products(const Execution& on, const Call<T>& call, const bodies::HeadTiles& heads) {
  run_heads(on, "attention", call.batch,
            AttentionProgram<A, Size>{heads, call.input[0], call.input[1], call.input[2], call.output});
}

template <Arithmetic A, int Size, class Execution, class T>
void attention_gradient_by_products(const Execution& on, const Call<T>& call, const bodies::HeadTiles& heads,
                                    bodies::QueryStatistics* statistics) {
  const Tensor<T>& dy = call.input[0];
  const Tensor<T>& q = call.input[1];
  const Tensor<T>& k = call.input[2];
  const Tensor<T>& v = call.input[3];
  run_heads(on, "attention_gradient_queries", call.batch,
            QueryGradientProgram<A, Size>{heads, q, k, v, dy, call.output, statistics});
  run_heads(on, "attention_gradient_keys", call.batch,
            KeyGradientProgram<A, Size>{heads, q, k, v, dy, call.output, statistics});
}

}  // namespace detail

template <Arithmetic A, class Execution, class T>
void attention(const Execution& on, const Call<T>& call) {
  const Tensor<T>& q = call.input[0];
  if constexpr (A != Arithmetic::exact)
    if (detail::heads_in_chunks(*call.node, {q, call.input[1], call.input[2], call.output})) {
      const auto heads = bodies::tiles_of(call, q, 64);
      return heads.size <= 32 ? detail::attention_by_products<A, 32>(on, call, heads)
                              : detail::attention_by_products<A, 64>(on, call, heads);
    }
  using Body = bodies::Attention<T>;
  const bodies::HeadTiles heads = bodies::tiles_for<Body>(call, q);
  on.blocks("attention", heads.blocks(q.batch), bodies::HeadTiles::threads, Body::shared_bytes(heads.tile, heads.size),
            Body{heads, q, call.input[1], call.input[2], call.output, {}, nullptr});
}

struct AttentionGradientBuffers {
  template <class T>
  AttentionGradientBuffers(const Call<T>& call, Workspace& w)
      : statistics(w.take<bodies::QueryStatistics>(rows_of(call.input[1]) * call.node->heads)) {}
  bodies::QueryStatistics* statistics;
};

/// dq, dk, dv side by side
template <Arithmetic A, class Execution, class T>
void attention_gradient(const Execution& on, const Call<T>& call) {
  const Tensor<T>& dy = call.input[0];
  const Tensor<T>& q = call.input[1];
  const Tensor<T>& k = call.input[2];
  const Tensor<T>& v = call.input[3];
  bodies::QueryStatistics* const statistics = buffers_of<AttentionGradientBuffers>(call).statistics;
  if constexpr (A != Arithmetic::exact)
    if (detail::heads_in_chunks(*call.node, {q, k, v, dy, call.output})) {
      const auto heads = bodies::tiles_of(call, q, 64);
      return heads.size <= 32 ? detail::attention_gradient_by_products<A, 32>(on, call, heads, statistics)
                              : detail::attention_gradient_by_products<A, 64>(on, call, heads, statistics);
    }
  using Forward = bodies::Attention<T>;
  using Backward = bodies::AttentionGradient<T>;
  bodies::HeadTiles heads = bodies::tiles_for<Forward>(call, q);
  on.blocks("attention_statistics", heads.blocks(q.batch), bodies::HeadTiles::threads,
            Forward::shared_bytes(heads.tile, heads.size), Forward{heads, q, k, v, {}, dy, statistics});
  heads = bodies::tiles_for<Backward>(call, q);
  for (const bool of_keys : {false, true})
    on.blocks(of_keys ? "attention_gradient_keys" : "attention_gradient_queries", heads.blocks(q.batch),
              bodies::HeadTiles::threads, Backward::shared_bytes(heads.tile, heads.size),
              Backward{heads, q, k, v, dy, call.output, statistics, of_keys});
}

}  // namespace ulna::cuda
