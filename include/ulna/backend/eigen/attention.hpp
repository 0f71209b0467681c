// SPDX-License-Identifier: MIT
// Multi-head attention, one query at a time: a row of scores is all that is ever held.
#pragma once

#include "ulna/backend/eigen/pointwise.hpp"
#include "ulna/backend/eigen/support.hpp"

namespace ulna::eigen {

/// Channels [first, first + size) of every token of sample n.
template <class T>
auto head_of(const Tensor<T>& x, int n, Index first, Index size) {
  return pixels_of(x, n).middleCols(first, size).matrix();
}

/// A row of scores, a row of its gradient, and for the gradient all of dk and dv of one head.
struct AttentionBuffers {
  template <class T>
  AttentionBuffers(const Call<T>& call, Workspace& w) {
    const Index tokens = call.input[0].pixels();
    const Index size = call.input[1].shape.channels / call.node->heads;
    scores = w.take<double>(tokens);
    slopes = w.take<double>(tokens);
    dk = w.take<double>(tokens * size);
    dv = w.take<double>(tokens * size);
  }
  double *scores, *slopes, *dk, *dv;
};

/// scores = softmax over tokens j of q . k[j] / sqrt(size)
inline void attend(const auto& q, const auto& k, Channels<double>& scores) {
  const double scale = 1.0 / std::sqrt(static_cast<double>(q.size()));
  scores = ((k.template cast<double>() * q.transpose().template cast<double>()) * scale).transpose().array();
  softmax_of(scores, scores);
}

/// y[i] = sum_j P[i][j] v[j]
template <class T>
void attention(const Call<T>& call) {
  const Tensor<T>& q = call.input[0];
  const Index size = q.shape.channels / call.node->heads;
  Channels<double> scores(buffers_of<AttentionBuffers>(call).scores, q.pixels());
  for (int n = 0; n < q.batch; ++n)
    for (Index first = 0; first < q.shape.channels; first += size)
      for (Index i = 0; i < q.pixels(); ++i) {
        attend(head_of(q, n, first, size).row(i), head_of(call.input[1], n, first, size), scores);
        head_of(call.output, n, first, size).row(i) =
            (scores.matrix() * head_of(call.input[2], n, first, size).template cast<double>()).template cast<T>();
      }
}

/// dq, dk, dv side by side
template <class T>
void attention_gradient(const Call<T>& call) {
  const Tensor<T>& q = call.input[1];
  const Index channels = q.shape.channels;
  const Index size = channels / call.node->heads;
  const double scale = 1.0 / std::sqrt(static_cast<double>(size));
  const auto b = buffers_of<AttentionBuffers>(call);
  Channels<double> p(b.scores, q.pixels());
  Channels<double> ds(b.slopes, q.pixels());
  Panel dk(b.dk, q.pixels(), size);
  Panel dv(b.dv, q.pixels(), size);
  for (int n = 0; n < q.batch; ++n)
    for (Index first = 0; first < channels; first += size) {
      const auto k = head_of(call.input[2], n, first, size).template cast<double>();
      const auto v = head_of(call.input[3], n, first, size).template cast<double>();
      dk.setZero();
      dv.setZero();
      for (Index i = 0; i < q.pixels(); ++i) {
        const auto query = head_of(q, n, first, size).row(i).template cast<double>();
        const auto dy = head_of(call.input[0], n, first, size).row(i).template cast<double>();
        attend(head_of(q, n, first, size).row(i), head_of(call.input[2], n, first, size), p);
        ds = (v * dy.transpose()).transpose().array();
        const double along = (p * ds).sum();
        ds = p * (ds - along) * scale;
        head_of(call.output, n, first, size).row(i) = (ds.matrix() * k).template cast<T>();
        dk += ds.matrix().transpose() * query;
        dv += p.matrix().transpose() * dy;
      }
      head_of(call.output, n, channels + first, size) = dk.template cast<T>();
      head_of(call.output, n, 2 * channels + first, size) = dv.template cast<T>();
    }
}

}  // namespace ulna::eigen
