// SPDX-License-Identifier: MIT
// Activation, sum, product, multiples, dropout and softmax.
#pragma once

#include <cmath>

#include "ulna/backend/tbb/activate.hpp"
#include "ulna/backend/tbb/walk.hpp"
#include "ulna/random.hpp"

namespace ulna::tbb_kernels {

template <class Isa, class T = float>
void activation(const Call<T>& call) {
  const Activation kind = call.node->activation;
  const float slope = call.node->slope;
  map_elements<Isa, 1>(
      call.output,
      {&call.input[0]}, [=](const auto* v) __attribute__((always_inline)) { return activate(v[0], kind, slope); });
}

/// Inputs dy, y.
template <class Isa, class T = float>
void activation_gradient(const Call<T>& call) {
  const Activation kind = call.node->activation;
  const float slope = call.node->slope;
  map_elements<Isa, 2>(
      call.output, {&call.input[0], &call.input[1]}, [=](const auto* v) __attribute__((always_inline)) {
        return activation_backward(v[0], v[1], kind, slope);
      });
}

/// x times the one channel of y.
template <class Isa, class T = float>
void scale_pixels(const Call<T>& call) {
  const Tensor<T>& x = call.input[0];
  const Tensor<T>& a = call.input[1];
  for_each_block<Isa>(call.output, [&](int n, Range pixels) {
    for (std::ptrdiff_t p = pixels.begin; p < pixels.end; ++p) {
      const float factor = *a.pixel(n, p);
      const T* from = x.pixel(n, p);
      T* to = call.output.pixel(n, p);
      for_channels<Isa::width>(
          x.shape.channels, [&](auto vec, int c) __attribute__((always_inline)) {
            using V = decltype(vec);
            (V::load(from + c) * V::broadcast(factor)).store(to + c);
          });
    }
  });
}

/// y = sum_c a_c b_c
template <class Isa, class T = float>
void channel_dot(const Call<T>& call) {
  using V = FloatVec<Isa>;
  const Tensor<T>& a = call.input[0];
  const Tensor<T>& b = call.input[1];
  const int channels = a.shape.channels;
  for_each_block<Isa>(a, [&](int n, Range pixels) {
    for (std::ptrdiff_t p = pixels.begin; p < pixels.end; ++p) {
      const T* x = a.pixel(n, p);
      const T* y = b.pixel(n, p);
      V sum = V::zero();
      int c = 0;
      for (; c + V::width <= channels; c += V::width) sum = fma(V::load(x + c), V::load(y + c), sum);
      if (c < channels) sum = fma(V::load_partial(x + c, channels - c), V::load_partial(y + c, channels - c), sum);
      *call.output.pixel(n, p) = static_cast<T>(reduce_add(sum));
    }
  });
}

template <class Isa, class T = float>
void add(const Call<T>& call) {
  const Activation kind = call.node->activation;
  const float slope = call.node->slope;
  map_elements<Isa, 2>(
      call.output, {&call.input[0], &call.input[1]}, [=](const auto* v) __attribute__((always_inline)) {
        return activate(v[0] + v[1], kind, slope);
      });
}

/// x y, or x times the one channel of y
template <class Isa, class T = float>
void multiply(const Call<T>& call) {
  if (call.input[1].shape.channels != call.output.shape.channels) return scale_pixels<Isa>(call);
  map_elements<Isa, 2>(
      call.output, {&call.input[0], &call.input[1]},
      [](const auto* v) __attribute__((always_inline)) { return v[0] * v[1]; });
}

template <class Isa, class T = float>
void scale(const Call<T>& call) {
  const float factor = call.node->rate;
  map_elements<Isa, 1>(
      call.output, {&call.input[0]}, [factor]<class V>(const V* v) __attribute__((always_inline)) {
        return v[0] * V::broadcast(factor);
      });
}

// --- dropout ---

/// philox (random.hpp) of `Isa::width` consecutive first counters: four words each, one counter after the other.
template <class Isa>
void philox_block(std::uint64_t first, std::uint32_t n, std::uint32_t stream, std::uint32_t step, std::uint64_t key,
                  std::uint32_t* words) {
  using U = Vec<std::uint64_t, Isa::width / 2>;  // 32-bit words in 64-bit lanes, so that products keep their upper half
  const U low = U::broadcast(0xFFFFFFFFu);
  for (int half = 0; half < 2; ++half) {
    std::uint64_t counters[U::width];
    for (int i = 0; i < U::width; ++i)
      counters[i] = (first + static_cast<std::uint64_t>(half * U::width + i)) & 0xFFFFFFFFu;
    U c0 = U::load(counters);
    U c1 = U::broadcast(n);
    U c2 = U::broadcast(stream);
    U c3 = U::broadcast(step);
    auto k0 = static_cast<std::uint32_t>(key);
    auto k1 = static_cast<std::uint32_t>(key >> 32);
    for (int round = 0; round < 10; ++round) {
      const U p0 = U::broadcast(0xD2511F53u) * c0;
      const U p1 = U::broadcast(0xCD9E8D57u) * c2;
      c0 = {(p1.v >> 32) ^ c1.v ^ U::broadcast(k0).v};
      c1 = {p1.v & low.v};
      c2 = {(p0.v >> 32) ^ c3.v ^ U::broadcast(k1).v};
      c3 = {p0.v & low.v};
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    std::uint64_t front[U::width], back[U::width];
    U{c0.v | (c1.v << 32)}.store(front);
    U{c2.v | (c3.v << 32)}.store(back);
    for (int i = 0; i < U::width; ++i) {
      std::uint32_t* to = words + 4 * (half * U::width + i);
      to[0] = static_cast<std::uint32_t>(front[i]);
      to[1] = static_cast<std::uint32_t>(front[i] >> 32);
      to[2] = static_cast<std::uint32_t>(back[i]);
      to[3] = static_cast<std::uint32_t>(back[i] >> 32);
    }
  }
}

/// y = x / (1 - rate) where the draw of (step, stream, sample, element) keeps it, else 0: see op/pointwise.hpp.
template <class Isa, class T = float>
void dropout(const Call<T>& call) {
  using V = FloatVec<Isa>;
  using U = Vec<std::uint32_t, Isa::width>;
  constexpr int draws = 4 * Isa::width;
  const Node& node = *call.node;
  const Tensor<T>& x = call.input[0];
  const Tensor<T>& y = call.output;
  const int channels = x.shape.channels;
  const bool dense = all_dense<T, 2>({&x, &y});
  const float scale = 1.0f / (1.0f - node.rate);
  // (bits >> 8) 2^-24 < rate, in integers
  const auto threshold = static_cast<std::uint32_t>(std::ceil(static_cast<double>(node.rate) * 0x1p24));
  // a task starts on a multiple of the draws that come at once
  const std::int64_t size = x.shape.size();
  constexpr std::int64_t each = block_elements / draws * draws;
  const auto blocks = static_cast<int>((size + each - 1) / each);
  parallel_tasks<Isa>(x.batch * blocks, [&](int task) {
    const int n = task / blocks;
    const std::int64_t begin = task % blocks * each;
    const std::int64_t end = std::min(begin + each, size);
    std::uint32_t words[draws];
    for (std::int64_t e = begin; e < end; e += draws) {
      philox_block<Isa>(static_cast<std::uint64_t>(e / 4), static_cast<std::uint32_t>(n),
                        static_cast<std::uint32_t>(node.begin), static_cast<std::uint32_t>(call.step), call.seed.value,
                        words);
      const auto count = static_cast<int>(std::min<std::int64_t>(draws, end - e));
      if (dense && count == draws) {
        for (int i = 0; i < draws; i += V::width) {
          const V kept = V::load(x.sample(n) + e + i) * V::broadcast(scale);
          const auto dropped = (U::load(words + i).v >> 8) < U::broadcast(threshold).v;
          V{dropped ? V::zero().v : kept.v}.store(y.sample(n) + e + i);
        }
        continue;
      }
      std::int64_t pixel = e / channels;
      auto c = static_cast<int>(e % channels);
      for (int i = 0; i < count; ++i) {
        const bool dropped = (words[i] >> 8) < threshold;
        y.pixel(n, pixel)[c] = static_cast<T>(dropped ? 0.0f : x.pixel(n, pixel)[c] * scale);
        if (++c == channels) {
          c = 0;
          ++pixel;
        }
      }
    }
  });
}

// --- softmax ---

/// e[i] = exp(e[i]) for a flat array.
template <class Isa>
void exp_in_place(float* e, std::ptrdiff_t count) {
  using V = FloatVec<Isa>;
  using One = Vec<float, 1>;
  std::ptrdiff_t i = 0;
  for (; i + V::width <= count; i += V::width) exp(V::load(e + i)).store(e + i);
  for (; i < count; ++i) exp(One::load(e + i)).store(e + i);
}

/// Pixels whose channels fit a small buffer: what the kernels over the channels of a pixel take at a time.
[[gnu::always_inline]] inline std::ptrdiff_t pixels_at_once(int channels) {
  return std::max<std::ptrdiff_t>(1, 1024 / channels);
}

/// A run of pixels, `stride` elements apart.
template <class T>
struct PixelRun {
  T* data;
  std::ptrdiff_t stride;
  T* pixel(std::ptrdiff_t p) const { return data + p * stride; }
};

/// to_c = exp(x_c - max x) at each of `count` pixels; x may be `to`.
template <class Isa, class T>
void exp_over_channels(PixelRun<const T> x, PixelRun<float> to, std::ptrdiff_t count, int channels) {
  for (std::ptrdiff_t p = 0; p < count; ++p) {
    const T* in = x.pixel(p);
    float* out = to.pixel(p);
    float top = in[0];
    for (int c = 1; c < channels; ++c) top = in[c] > top ? static_cast<float>(in[c]) : top;
    for (int c = 0; c < channels; ++c) out[c] = in[c] - top;
  }
  if (to.stride == channels) return exp_in_place<Isa>(to.data, count * channels);
  for (std::ptrdiff_t p = 0; p < count; ++p) exp_in_place<Isa>(to.pixel(p), channels);
}

/// to_c = exp(x_c - max x) / sum_k exp(x_k - max x) at each of `count` pixels
template <class Isa, class T>
void softmax_pixels(PixelRun<const T> x, PixelRun<float> to, std::ptrdiff_t count, int channels) {
  exp_over_channels<Isa, T>(x, to, count, channels);
  for (std::ptrdiff_t p = 0; p < count; ++p) {
    float* out = to.pixel(p);
    float sum = 0;
    for (int c = 0; c < channels; ++c) sum += out[c];
    const float scale = 1.0f / sum;
    for (int c = 0; c < channels; ++c) out[c] *= scale;
  }
}

/// Calls f(sample, run of pixels) for runs of at most `pixels_at_once`, in parallel.
template <class Isa, class T, class F>
void for_each_run(const Tensor<T>& y, const F& f) {
  for_each_block<Isa>(y, [&](int n, Range pixels) {
    const std::ptrdiff_t each = pixels_at_once(y.shape.channels);
    for (std::ptrdiff_t begin = pixels.begin; begin < pixels.end; begin += each)
      f(n, Range{begin, std::min(begin + each, pixels.end)});
  });
}

/// Where a kernel over the channels of a pixel leaves the results of a run: in the output itself, or for bf16 in a
/// buffer of the thread, from which finish() rounds them into the output.
template <class Isa, class T>
struct RunResult {
  const Tensor<T>& y;
  int n;
  Range run;
  PixelRun<float> floats;

  static std::size_t buffer_bytes(int channels) {
    return sizeof(float) * static_cast<std::size_t>(std::max(1024, channels));
  }
  static std::size_t scratch_bytes(const Tensor<T>& y, int threads) {
    if (std::is_same_v<T, float>) return 0;
    return aligned_bytes(buffer_bytes(y.shape.channels)) * static_cast<std::size_t>(threads);
  }

  /// `buffers` begin `offset` bytes into the scratch memory.
  RunResult(const Call<T>& call, int sample, Range pixels, std::size_t offset = 0)
      : y(call.output), n(sample), run(pixels) {
    const int channels = y.shape.channels;
    if constexpr (std::is_same_v<T, float>)
      floats = {y.pixel(n, run.begin), y.pixel_stride};
    else
      floats = {scratch_piece<float>(call.scratch, offset, buffer_bytes(channels), thread_slot()), channels};
  }
  void finish() const {
    if constexpr (!std::is_same_v<T, float>)
      copy_pixels<Isa>(floats.data, floats.stride, y.pixel(n, run.begin), y.pixel_stride, run.size(), y.shape.channels);
  }
};

template <class Isa, class T = float>
void softmax(const Call<T>& call) {
  const Tensor<T>& x = call.input[0];
  for_each_run<Isa>(call.output, [&](int n, Range run) {
    const RunResult<Isa, T> result(call, n, run);
    softmax_pixels<Isa, T>({x.pixel(n, run.begin), x.pixel_stride}, result.floats, run.size(), x.shape.channels);
    result.finish();
  });
}

/// dx_c = y_c (dy_c - sum_k dy_k y_k)
template <class Isa, class T = float>
void softmax_gradient(const Call<T>& call) {
  const Tensor<T>& dy = call.input[0];
  const Tensor<T>& y = call.input[1];
  const int channels = y.shape.channels;
  for_each_block<Isa>(y, [&](int n, Range pixels) {
    for (std::ptrdiff_t p = pixels.begin; p < pixels.end; ++p) {
      const T* g = dy.pixel(n, p);
      const T* out = y.pixel(n, p);
      T* to = call.output.pixel(n, p);
      float dot = 0;
      for (int c = 0; c < channels; ++c) dot += g[c] * out[c];
      for (int c = 0; c < channels; ++c) to[c] = static_cast<T>(out[c] * (g[c] - dot));
    }
  });
}

}  // namespace ulna::tbb_kernels
