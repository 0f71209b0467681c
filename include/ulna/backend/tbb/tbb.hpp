// SPDX-License-Identifier: MIT
// The fast CPU backend: oneTBB over tiles of the image, SIMD across channels.
#pragma once

#include <oneapi/tbb/info.h>
#include <oneapi/tbb/task_arena.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "ulna/backend/backend.hpp"
#include "ulna/backend/tbb/arithmetic.hpp"
#include "ulna/backend/tbb/attention.hpp"
#include "ulna/backend/tbb/bias_gradient.hpp"
#include "ulna/backend/tbb/embedding.hpp"
#include "ulna/backend/tbb/layer_norm.hpp"
#include "ulna/backend/tbb/loss.hpp"
#include "ulna/backend/tbb/normalize.hpp"
#include "ulna/backend/tbb/pointwise.hpp"
#include "ulna/backend/tbb/pool.hpp"
#include "ulna/backend/tbb/rearrange.hpp"
#include "ulna/backend/tbb/standardize.hpp"
#include "ulna/backend/tbb/upsample.hpp"
#include "ulna/error.hpp"

namespace ulna::cpu {

/// Runs kernels on several threads. Results do not depend on how many: the same bits on 1 and on 64.
/// Copies share their threads. `T` is the type of activations and their gradients: float, or bf16 with sums,
/// parameters, statistics and losses in float. `Arithmetic` says how convolutions are computed, see tbb/arithmetic.hpp.
template <class T, class Arithmetic = arithmetic::Default<T>, class Isa = NativeIsa>
class Tbb {
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, bf16>, "cpu::Tbb: activations are float or bf16");

 public:
  using Element = T;
  using Master = float;
  /// What exact tiles of an image are computed with: the same threads, and where that pays, another arithmetic.
  using Tiles = Tbb<T, typename Arithmetic::Tiles, Isa>;
  using Footprint = typename Arithmetic::Tiles::Footprint;
  static constexpr WeightOrder packed_weights =
      std::is_same_v<T, float> ? WeightOrder::blocks : WeightOrder::pair_blocks;

  /// As many threads as the process may use.
  Tbb() : Tbb(tbb::info::default_concurrency()) {}

  /// `threads` must be positive, and a program compiled for AMX must run where there is AMX; otherwise throws
  /// ArgumentError.
  explicit Tbb(int threads) {
    if (threads < 1) throw ArgumentError("cpu::Tbb: " + std::to_string(threads) + " threads asked for; use 1 or more");
    tbb_kernels::request_tiles<Isa>();
    arena_ = std::make_shared<tbb::task_arena>(threads);
  }

  /// The same threads for another arithmetic.
  template <class Other>
  explicit Tbb(const Tbb<T, Other, Isa>& other) : arena_(other.arena_) {}

  int threads() const { return arena_->max_concurrency(); }

  /// Calls f() where kernels may use the threads.
  template <class F>
  void run(F&& f) const {
    arena_->execute(std::forward<F>(f));
  }

  /// Calls f(begin, end) for consecutive blocks of [0, count), in parallel; block bounds do not depend on the threads.
  template <class F>
  void parallel_for_blocks(std::int64_t count, std::int64_t block, const F& f) const {
    const auto blocks = static_cast<int>((count + block - 1) / block);
    if (blocks <= 0) return;
    run([&] {
      tbb_kernels::parallel_tasks<Isa>(blocks, [&](int i) { f(i * block, std::min(i * block + block, count)); });
    });
  }

  /// The kernel of an op; null for leaves and slices, which never run.
  template <Op op>
  static constexpr Kernel<T> kernel([[maybe_unused]] const Node& node) {
    // clang-format off
    if constexpr (op == Op::convolution || op == Op::transposed_convolution) return &tbb_kernels::convolution_by<Arithmetic, Isa, T>;
    else if constexpr (op == Op::convolution_weight_gradient) return &tbb_kernels::weight_gradient_by<Arithmetic, Isa, T>;
    else if constexpr (op == Op::bias_gradient) return &tbb_kernels::bias_gradient<Isa, T>;
    else if constexpr (op == Op::max_pool) return &tbb_kernels::max_pool<Isa, T>;
    else if constexpr (op == Op::max_pool_gradient) return &tbb_kernels::max_pool_gradient<Isa, T>;
    else if constexpr (op == Op::average_pool) return &tbb_kernels::average_pool<Isa, T>;
    else if constexpr (op == Op::average_pool_gradient) return &tbb_kernels::average_pool_gradient<Isa, T>;
    else if constexpr (op == Op::upsample_nearest) return &tbb_kernels::upsample_nearest<Isa, T>;
    else if constexpr (op == Op::upsample_nearest_gradient) return &tbb_kernels::upsample_nearest_gradient<Isa, T>;
    else if constexpr (op == Op::upsample_bilinear) return &tbb_kernels::upsample_bilinear<Isa, T>;
    else if constexpr (op == Op::upsample_bilinear_gradient) return &tbb_kernels::upsample_bilinear_gradient<Isa, T>;
    else if constexpr (op == Op::moments) return &tbb_kernels::moments<Isa, T>;
    else if constexpr (op == Op::normalize) return &tbb_kernels::normalize<Isa, T>;
    else if constexpr (op == Op::normalize_gradient_sums) return &tbb_kernels::normalize_gradient_sums<Isa, T>;
    else if constexpr (op == Op::normalize_gradient) return &tbb_kernels::normalize_gradient<Isa, T>;
    else if constexpr (op == Op::norm_parameter_gradient) return in_float<&tbb_kernels::norm_parameter_gradient<Isa>>();
    else if constexpr (op == Op::update_running) return in_float<&tbb_kernels::update_running<Isa>>();
    else if constexpr (op == Op::running_affine) return in_float<&tbb_kernels::running_affine<Isa>>();
    else if constexpr (op == Op::affine) return &tbb_kernels::affine<Isa, T>;
    else if constexpr (op == Op::fold_weight) return in_float<&tbb_kernels::fold_weight<Isa>>();
    else if constexpr (op == Op::fold_bias) return in_float<&tbb_kernels::fold_bias<Isa>>();
    else if constexpr (op == Op::activation) return &tbb_kernels::activation<Isa, T>;
    else if constexpr (op == Op::activation_gradient) return &tbb_kernels::activation_gradient<Isa, T>;
    else if constexpr (op == Op::softmax) return &tbb_kernels::softmax<Isa, T>;
    else if constexpr (op == Op::softmax_gradient) return &tbb_kernels::softmax_gradient<Isa, T>;
    else if constexpr (op == Op::dropout) return &tbb_kernels::dropout<Isa, T>;
    else if constexpr (op == Op::scale) return &tbb_kernels::scale<Isa, T>;
    else if constexpr (op == Op::add) return node.per_sample ? &tbb_kernels::add<Isa, T> : in_float<&tbb_kernels::add<Isa, float>>();
    else if constexpr (op == Op::multiply) return &tbb_kernels::multiply<Isa, T>;
    else if constexpr (op == Op::channel_dot) return &tbb_kernels::channel_dot<Isa, T>;
    else if constexpr (op == Op::add_embedding) return &tbb_kernels::add_embedding<Isa, T>;
    else if constexpr (op == Op::embedding_gradient) return &tbb_kernels::embedding_gradient<Isa, T>;
    else if constexpr (op == Op::attention) return &tbb_kernels::attention<Isa, T>;
    else if constexpr (op == Op::attention_gradient) return &tbb_kernels::attention_gradient<Isa, T>;
    else if constexpr (op == Op::layer_norm) return &tbb_kernels::layer_norm<Isa, T>;
    else if constexpr (op == Op::layer_norm_gradient) return &tbb_kernels::layer_norm_gradient<Isa, T>;
    else if constexpr (op == Op::layer_norm_sums) return &tbb_kernels::layer_norm_sums<Isa, T>;
    else if constexpr (op == Op::standardize_weight) return in_float<&tbb_kernels::standardize_weight<Isa>>();
    else if constexpr (op == Op::standardize_weight_gradient) return in_float<&tbb_kernels::standardize_weight_gradient<Isa>>();
    else if constexpr (op == Op::concat) return &tbb_kernels::concat<Isa, T>;
    else if constexpr (op == Op::crop) return &tbb_kernels::crop<Isa, T>;
    else if constexpr (op == Op::pad) return &tbb_kernels::pad<Isa, T>;
    else if constexpr (op == Op::pad_gradient) return &tbb_kernels::pad_gradient<Isa, T>;
    else if constexpr (op == Op::cross_entropy) return &tbb_kernels::cross_entropy<Isa, T>;
    else if constexpr (op == Op::cross_entropy_gradient) return &tbb_kernels::cross_entropy_gradient<Isa, T>;
    else if constexpr (op == Op::binary_cross_entropy) return &tbb_kernels::binary_cross_entropy<Isa, T>;
    else if constexpr (op == Op::binary_cross_entropy_gradient) return &tbb_kernels::binary_cross_entropy_gradient<Isa, T>;
    else if constexpr (op == Op::soft_dice) return &tbb_kernels::soft_dice<Isa, T>;
    else if constexpr (op == Op::soft_dice_gradient) return &tbb_kernels::soft_dice_gradient<Isa, T>;
    else if constexpr (op == Op::weighted_sum) return in_float<&tbb_kernels::weighted_sum<Isa>>();
    else {
      static_assert(op == Op::input || op == Op::parameter || op == Op::slice, "Ulna: this op has no Tbb kernel");
      return nullptr;
    }
    // clang-format on
  }

  /// Working memory that the kernel needs for this call; its data pointers need not be set.
  template <Op op>
  static std::size_t scratch_bytes(const Call<T>& call, [[maybe_unused]] int threads) {
    using namespace tbb_kernels;
    const auto run_bytes = [&] { return RunResult<Isa, T>::scratch_bytes(call.output, threads); };
    const auto constants = [&](int rows) { return constants_bytes<Isa>(call, rows); };
    if constexpr (op == Op::convolution || op == Op::transposed_convolution)
      return convolution_by_scratch_bytes<Arithmetic, Isa, T>(call, threads);
    else if constexpr (op == Op::convolution_weight_gradient)
      return weight_gradient_by_scratch_bytes<Arithmetic, Isa, T>(call, threads);
    else if constexpr (op == Op::bias_gradient)
      return bias_gradient_scratch_bytes<Isa>(call, threads);
    else if constexpr (op == Op::upsample_bilinear)
      return upsample_bilinear_bytes<Isa>(call);
    else if constexpr (op == Op::upsample_bilinear_gradient)
      return upsample_bilinear_gradient_bytes<Isa>(call);
    else if constexpr (op == Op::moments)
      return sum_channels_bytes<Isa>(call.input[0], 2);
    else if constexpr (op == Op::normalize)
      return constants(3);
    else if constexpr (op == Op::normalize_gradient_sums)
      return constants(3) + sum_channels_bytes<Isa>(call.input[0], 2);
    else if constexpr (op == Op::normalize_gradient)
      return constants(5);
    else if constexpr (op == Op::attention)
      return attention_bytes<Isa>(call, threads);
    else if constexpr (op == Op::attention_gradient)
      return attention_gradient_bytes<Isa>(call, threads);
    else if constexpr (op == Op::layer_norm_sums)
      return layer_norm_sums_bytes<Isa>(call);
    else if constexpr (op == Op::standardize_weight)
      return standardize_weight_bytes<Isa>(float_call(call));
    else if constexpr (op == Op::standardize_weight_gradient)
      return standardize_weight_gradient_bytes<Isa>(float_call(call));
    else if constexpr (op == Op::affine)
      return constants(2);
    else if constexpr (op == Op::fold_weight)
      return constants(1);
    else if constexpr (op == Op::cross_entropy || op == Op::binary_cross_entropy)
      return loss_bytes<Isa>(call, threads, 2);
    else if constexpr (op == Op::soft_dice)
      return loss_bytes<Isa>(call, threads, 3 * call.input[0].shape.channels);
    else if constexpr (op == Op::soft_dice_gradient)
      return soft_dice_slopes_bytes(call) + run_bytes();
    else if constexpr (op == Op::softmax || op == Op::cross_entropy_gradient || op == Op::binary_cross_entropy_gradient)
      return run_bytes();
    else
      return 0;
  }

 private:
  /// The kernel of an op whose operands are all parameters or computed from them.
  template <auto Function>
  static constexpr Kernel<T> in_float() {
    if constexpr (std::is_same_v<T, float>)
      return Function;
    else
      return [](const Call<T>& call) { Function(float_call(call)); };
  }
  static Call<float> float_call(const Call<T>& call) {
    Call<float> c{.node = call.node, .batch = call.batch, .output = held_as<float>(call.output)};
    for (std::size_t i = 0; i < max_inputs; ++i) c.input[i] = held_as<float>(call.input[i]);
    c.scratch = call.scratch;
    c.seed = call.seed;
    c.step = call.step;
    return c;
  }

  template <class, class, class>
  friend class Tbb;

  std::shared_ptr<tbb::task_arena> arena_;
};

static_assert(CpuBackend<Tbb<float>> && CpuBackend<Tbb<bf16>>);

}  // namespace ulna::cpu
