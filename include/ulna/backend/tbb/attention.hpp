// SPDX-License-Identifier: MIT
// Multi-head attention, a block of queries at a time against all keys: see op/attention.hpp for the formulas.
//
// Scores lie as [key][query], queries along the vector lanes: the softmax over keys then needs no sum across lanes, and
// queries that fill up the last vector of a block are computed and never read. Products are register blocks whose
// elements are one chain each, so the results do not depend on how the work is cut.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <type_traits>

#include "ulna/backend/tbb/matrix_product.hpp"
#include "ulna/backend/tbb/parallel.hpp"
#include "ulna/backend/tbb/transpose.hpp"
#include "ulna/backend/tbb/walk.hpp"
#include "ulna/backend/tensor.hpp"

namespace ulna::tbb_kernels {

/// How attention is cut into tasks and blocks: sizes only, no data.
template <class Isa>
struct AttentionPlan {
  static constexpr int W = Isa::width;
  static constexpr int most_queries = 64;  ///< the widest register block of scores; whole vectors

  int batch, heads, tokens;
  int size;     ///< channels of a head
  int lanes;    ///< the same in whole vectors
  int queries;  ///< of a block, in whole vectors
  int blocks;   ///< of queries
  int parts;    ///< tasks that share the blocks of a head when nothing is summed over queries
  float scale;
  int widened;  ///< copies of all tokens of a head as floats, where they are bf16

  template <class T>
  AttentionPlan(const Call<T>& call, const Tensor<T>& q)
      : batch(q.batch),
        heads(call.node->heads),
        tokens(static_cast<int>(q.pixels())),
        size(q.shape.channels / heads),
        lanes(whole_vectors(size)),
        queries(std::min(most_queries, whole_vectors(tokens))),
        blocks((tokens + queries - 1) / queries),
        parts(std::clamp(64 / (batch * heads), 1, blocks)),
        scale(static_cast<float>(1.0 / std::sqrt(static_cast<double>(size)))),
        widened(std::is_same_v<T, float> ? 0 : 1) {}

  std::ptrdiff_t panel() const { return std::ptrdiff_t{whole_vectors(size)} * queries; }  ///< queries of a head
  std::ptrdiff_t scores() const { return std::ptrdiff_t{tokens} * queries; }
  std::ptrdiff_t all() const { return std::ptrdiff_t{tokens} * lanes; }  ///< tokens of a head

  std::size_t forward_bytes() const { return floats(2 * panel() + scores() + (1 + widened) * all() + queries); }
  std::size_t backward_bytes() const { return floats(5 * panel() + 2 * scores() + (3 + widened) * all()); }

 private:
  static constexpr int whole_vectors(int n) { return (n + W - 1) / W * W; }
  static std::size_t floats(std::ptrdiff_t n) { return aligned_bytes(static_cast<std::size_t>(n) * sizeof(float)); }
};

namespace detail {

/// One thread's work on a head of a sample.
template <class Isa, class T>
class AttentionTask {
  using V = FloatVec<Isa>;
  static constexpr int W = Isa::width;

 public:
  AttentionTask(const Call<T>& call, const AttentionPlan<Isa>& plan, float* scratch)
      : call_(call), plan_(plan), free_(scratch) {}

  /// y of some blocks of queries of a head.
  void forward(int sample, int head, Range blocks) {
    locate(sample, head);
    float* q_columns = take(plan_.panel());
    float* y = take(plan_.panel());
    float* scores = take(plan_.scores());
    float* values = take(plan_.all());
    float* inverse = take(plan_.queries);
    const Matrix keys = as_matrix(call_.input[1], take(plan_.widened * plan_.all()));
    pack_rows(call_.input[2], 0, plan_.tokens, values);
    for (auto block = blocks.begin; block < blocks.end; ++block) {
      choose(static_cast<int>(block));
      pack_columns(call_.input[0], q_columns);
      score(keys, q_columns, scores);
      for (int l = 0; l < vector_count_; l += W) {
        const V sum = exp_of_scores(scores + l);
        (V::broadcast(1.0f) / sum).store(inverse + l);
      }
      multiply<Isa, false>({scores, 1, plan_.queries}, values, plan_.lanes, plan_.tokens, y, plan_.lanes, count_,
                           plan_.lanes, false);
      for (int i = 0; i < count_; ++i)
        for (int c = 0; c < plan_.lanes; c += W) {
          float* at = y + std::ptrdiff_t{i} * plan_.lanes + c;
          (V::load(at) * V::broadcast(inverse[i])).store(at);
        }
      write(y, count_, call_.output.pixel(sample_, first_) + channel_);
    }
  }

  /// dq, dk and dv of a head.
  void backward(int sample, int head) {
    locate(sample, head);
    const Tensor<T>& dy = call_.input[0];
    const Tensor<T>& q = call_.input[1];
    const Tensor<T>& k = call_.input[2];
    const Tensor<T>& v = call_.input[3];
    float* q_columns = take(plan_.panel());
    float* q_rows = take(plan_.panel());
    float* dy_columns = take(plan_.panel());
    float* dy_rows = take(plan_.panel());
    float* dq = take(plan_.panel());
    float* p = take(plan_.scores());
    float* ds = take(plan_.scores());
    float* keys = take(plan_.all());
    float* dk = take(plan_.all());
    float* dv = take(plan_.all());
    const Matrix values = as_matrix(v, take(plan_.widened * plan_.all()));
    pack_rows(k, 0, plan_.tokens, keys);
    for (int block = 0; block < plan_.blocks; ++block) {
      choose(block);
      pack_columns(q, q_columns);
      pack_columns(dy, dy_columns);
      pack_rows(q, first_, count_, q_rows);
      pack_rows(dy, first_, count_, dy_rows);
      score({keys, plan_.lanes, 1}, q_columns, p);
      score(values, dy_columns, ds);
      for (int l = 0; l < vector_count_; l += W) softmax_backward(p + l, ds + l);
      multiply<Isa, false>({ds, 1, plan_.queries}, keys, plan_.lanes, plan_.tokens, dq, plan_.lanes, count_,
                           plan_.lanes, false);
      write(dq, count_, call_.output.pixel(sample_, first_) + channel_);
      multiply<Isa, true>({ds, plan_.queries, 1}, q_rows, plan_.lanes, count_, dk, plan_.lanes, plan_.tokens,
                          plan_.lanes, block > 0);
      multiply<Isa, true>({p, plan_.queries, 1}, dy_rows, plan_.lanes, count_, dv, plan_.lanes, plan_.tokens,
                          plan_.lanes, block > 0);
    }
    const int channels = q.shape.channels;
    write(dk, plan_.tokens, call_.output.sample(sample_) + channels + channel_);
    write(dv, plan_.tokens, call_.output.sample(sample_) + 2 * channels + channel_);
  }

 private:
  float* take(std::ptrdiff_t count) {
    float* p = free_;
    free_ += count;
    return p;
  }

  void locate(int sample, int head) {
    sample_ = sample;
    channel_ = head * plan_.size;
  }
  void choose(int block) {
    first_ = block * plan_.queries;
    count_ = std::min(plan_.queries, plan_.tokens - first_);
    vector_count_ = (count_ + W - 1) / W * W;
  }

  /// Tokens of the head as [token][channel], zeros up to whole vectors.
  void pack_rows(const Tensor<T>& x, int first, int count, float* to) const {
    const T* from = x.pixel(sample_, first) + channel_;
    for (int i = 0; i < count; ++i, from += x.pixel_stride, to += plan_.lanes) {
      int c = 0;
      for (; c + W <= plan_.size; c += W) V::load(from + c).store(to + c);
      if (c < plan_.size) V::load_partial(from + c, plan_.size - c).store(to + c);
    }
  }
  /// The block's tokens as [channel][token].
  void pack_columns(const Tensor<T>& x, float* to) const {
    for (int c = 0; c < plan_.size; ++c) V::zero().store(to + std::ptrdiff_t{c} * plan_.queries + vector_count_ - W);
    transpose<Isa>(x.pixel(sample_, first_) + channel_, x.pixel_stride, count_, plan_.size, to, plan_.queries);
  }
  void write(const float* from, int count, T* to) const {
    copy_pixels<Isa>(from, plan_.lanes, to, call_.output.pixel_stride, count, plan_.size);
  }

  /// The tokens of the head, where they lie if they are floats, else copied to `room`.
  Matrix as_matrix(const Tensor<T>& x, [[maybe_unused]] float* room) const {
    if constexpr (std::is_same_v<T, float>) {
      return {x.sample(sample_) + channel_, x.pixel_stride, 1};
    } else {
      pack_rows(x, 0, plan_.tokens, room);
      return {room, plan_.lanes, 1};
    }
  }

  /// scores[j][i] = x[j] . columns[i]
  void score(const Matrix& x, const float* columns, float* scores) const {
    multiply<Isa, true>(x, columns, plan_.queries, plan_.size, scores, plan_.queries, plan_.tokens, vector_count_,
                        false);
  }

  /// s[j] = exp((s[j] - max s) scale) for a vector of queries. Returns the sum over j.
  [[gnu::always_inline]] V exp_of_scores(float* s) const {
    const std::ptrdiff_t step = plan_.queries;
    V top = V::load(s);
    for (int j = 1; j < plan_.tokens; ++j) top = max(top, V::load(s + j * step));
    V sum = V::zero();
    for (int j = 0; j < plan_.tokens; ++j) {
      const V e = exp((V::load(s + j * step) - top) * V::broadcast(plan_.scale));
      e.store(s + j * step);
      sum = sum + e;
    }
    return sum;
  }

  /// s: scores to P. ds: dP to dS = P (dP - sum of P dP) scale.
  [[gnu::always_inline]] void softmax_backward(float* s, float* ds) const {
    const std::ptrdiff_t step = plan_.queries;
    const V inverse = V::broadcast(1.0f) / exp_of_scores(s);
    V along = V::zero();
    for (int j = 0; j < plan_.tokens; ++j) along = fma(V::load(s + j * step), V::load(ds + j * step), along);
    along = along * inverse;
    for (int j = 0; j < plan_.tokens; ++j) {
      const V p = V::load(s + j * step) * inverse;
      p.store(s + j * step);
      (p * (V::load(ds + j * step) - along) * V::broadcast(plan_.scale)).store(ds + j * step);
    }
  }

  const Call<T>& call_;
  const AttentionPlan<Isa>& plan_;
  float* free_;
  int sample_ = 0, channel_ = 0;
  int first_ = 0, count_ = 0;  ///< queries of the block
  int vector_count_ = 0;       ///< the same in whole vectors
};

}  // namespace detail

/// y[i] = sum_j P[i][j] v[j]
template <class Isa, class T = float>
void attention(const Call<T>& call) {
  const AttentionPlan<Isa> plan(call, call.input[0]);
  parallel_tasks<Isa>(plan.batch * plan.heads * plan.parts, [&](int task) {
    detail::AttentionTask<Isa, T> worker(call, plan,
                                         scratch_piece<float>(call.scratch, 0, plan.forward_bytes(), thread_slot()));
    const int head = task / plan.parts;
    worker.forward(head / plan.heads, head % plan.heads, part_of(plan.blocks, plan.parts, task % plan.parts));
  });
}

template <class Isa, class T = float>
std::size_t attention_bytes(const Call<T>& call, int threads) {
  return AttentionPlan<Isa>(call, call.input[0]).forward_bytes() * static_cast<std::size_t>(threads);
}

/// dq, dk, dv side by side. A head is one task: its dk and dv are sums over all queries.
template <class Isa, class T = float>
void attention_gradient(const Call<T>& call) {
  const AttentionPlan<Isa> plan(call, call.input[1]);
  parallel_tasks<Isa>(plan.batch * plan.heads, [&](int task) {
    detail::AttentionTask<Isa, T> worker(call, plan,
                                         scratch_piece<float>(call.scratch, 0, plan.backward_bytes(), thread_slot()));
    worker.backward(task / plan.heads, task % plan.heads);
  });
}

template <class Isa, class T = float>
std::size_t attention_gradient_bytes(const Call<T>& call, int threads) {
  return AttentionPlan<Isa>(call, call.input[1]).backward_bytes() * static_cast<std::size_t>(threads);
}

}  // namespace ulna::tbb_kernels
