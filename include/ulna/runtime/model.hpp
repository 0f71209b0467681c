// SPDX-License-Identifier: MIT
// The numbers of a network: its parameters and running statistics, in flat buffers.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <utility>

#include "ulna/error.hpp"
#include "ulna/program.hpp"
#include "ulna/random.hpp"
#include "ulna/runtime/buffer.hpp"
#include "ulna/runtime/weight_stream.hpp"

namespace ulna {

/// How weights start. Biases and embeddings start at 0, scales at 1. fan_in counts the taps that one output pixel sees:
/// all of a convolution, kernel / stride of a transposed one.
enum class Initialization : unsigned char {
  he_normal,      ///< N(0, 2 / fan_in): for ReLU (He et al. 2015; the U-Net paper's sqrt(2 / N))
  he_uniform,     ///< U(-a, a), a = sqrt(6 / fan_in)
  glorot_normal,  ///< N(0, 2 / (fan_in + fan_out)) (Glorot and Bengio 2010)
  glorot_uniform  ///< U(-a, a), a = sqrt(6 / (fan_in + fan_out))
};

namespace detail {
/// Weight [tap][in][out] of a transposed convolution of stride f that interpolates linearly: along an axis of k taps,
/// 1 - |tap - (k - 1) / 2| / f with f = (k + 1) / 2 rounded down; other channels give nothing.
template <class T>
void fill_with_interpolation(const Parameter& p, std::span<T> weight) {
  const auto along_axis = [](int tap, int k) { return 1.0 - std::abs(tap - (k - 1) / 2.0) / ((k + 1) / 2); };
  std::size_t i = 0;
  for (int z = 0; z < p.kernel.depth; ++z)
    for (int y = 0; y < p.kernel.height; ++y)
      for (int x = 0; x < p.kernel.width; ++x)
        for (int in = 0; in < p.in; ++in)
          for (int out = 0; out < p.out; ++out) {
            const double w =
                along_axis(z, p.kernel.depth) * along_axis(y, p.kernel.height) * along_axis(x, p.kernel.width);
            weight[i++] = static_cast<T>(in == out ? w : 0.0);
          }
}
}  // namespace detail

/// For models whose numbers come from elsewhere: `Model<P> model{zeros};` draws none.
struct Zeros {};
inline constexpr Zeros zeros{};

/// 64-bit FNV-1a.
constexpr std::uint64_t hash_bytes(std::span<const std::byte> bytes, std::uint64_t hash = 0xCBF29CE484222325u) {
  for (const std::byte b : bytes) hash = (hash ^ static_cast<std::uint64_t>(b)) * 0x100000001B3u;
  return hash;
}

/// Parameters and state of program P. Which backend runs it is not its business; T is the type of the master weights.
///
template <class P, class T = float>
class Model {
 public:
  using Program = P;
  using Element = T;

  explicit Model(Seed seed = {}, Initialization how = Initialization::he_normal) : Model(zeros) {
    initialize(seed, how);
  }
  /// All numbers 0, to be filled: from a file, say.
  explicit Model(Zeros)
      : parameters_(static_cast<std::size_t>(P::parameter_count)), state_(static_cast<std::size_t>(P::state_count)) {}
  /// Over numbers that are there already, in a mapped file, say. ArgumentError unless there are parameter_count and
  /// state_count of them. `streamed`: the file that they are pages of, when not all are to stay in memory.
  Model(Buffer<T> parameters, Buffer<T> state, StreamedFile streamed = {})
      : parameters_(std::move(parameters)), state_(std::move(state)), streamed_(std::move(streamed)) {
    if (parameters_.size() != static_cast<std::size_t>(P::parameter_count) ||
        state_.size() != static_cast<std::size_t>(P::state_count))
      throw ArgumentError("Model: found " + std::to_string(parameters_.size()) + " parameters and " +
                          std::to_string(state_.size()) + " running statistics; this network has " +
                          std::to_string(P::parameter_count) + " and " + std::to_string(P::state_count));
  }

  /// Another model with the same numbers.
  Model copy() const {
    Model twin{zeros};
    std::copy(parameters().begin(), parameters().end(), twin.mutable_parameters().begin());
    std::copy(state().begin(), state().end(), twin.mutable_state().begin());
    return twin;
  }

  /// The network's graph: names and layouts of parameters.
  static constexpr const auto& graph() { return P::inference.graph; }

  std::span<const T> parameters() const {
    settle();
    return parameters_.span();
  }
  std::span<const T> state() const {
    settle();
    return state_.span();
  }
  /// For changing them: everything derived from parameters is evaluated again at its next use.
  std::span<T> mutable_parameters() {
    begin_change();
    return parameters_.span();
  }
  std::span<T> mutable_state() {
    begin_change();
    return state_.span();
  }

  /// One parameter or running statistic, in Ulna's memory order [tap][in][out].
  std::span<const T> values(const Parameter& p) const {
    settle();
    const auto& buffer = is_trainable(p.kind) ? parameters_ : state_;
    return {buffer.data() + p.offset, static_cast<std::size_t>(p.size())};
  }
  std::span<T> mutable_values(const Parameter& p) {
    begin_change();
    const auto& buffer = is_trainable(p.kind) ? parameters_ : state_;
    return {buffer.data() + p.offset, static_cast<std::size_t>(p.size())};
  }

  /// Changes whenever parameters or state may have changed.
  std::uint64_t revision() const { return revision_; }

  /// The file whose pages may be given back. None once parameters or state may have been changed: changes are kept.
  const StreamedFile& streamed() const { return streamed_; }

  /// For trainers that keep newer numbers elsewhere, on a device: once outdate() was called, `source` is asked to copy
  /// them here when somebody reads them. Without a source (an empty function) the model's own are the newest again;
  /// what the old source still had is copied first.
  using Source = std::function<void(std::span<T> parameters, std::span<T> state)>;
  void set_source(Source source) {
    settle();
    source_ = std::move(source);
  }
  void outdate() {
    outdated_ = true;
    ++revision_;
    streamed_ = {};
  }
  /// Fetches newer numbers, if there are any elsewhere.
  void settle() const {
    if (!outdated_) return;
    source_(parameters_.span(), state_.span());
    outdated_ = false;
  }

  /// Of all parameters and state, to the bit.
  std::uint64_t hash() const { return hash_bytes(std::as_bytes(state()), hash_bytes(std::as_bytes(parameters()))); }

  /// Draws new weights. Each parameter has a random stream of its own.
  void initialize(Seed seed, Initialization how) {
    std::uint64_t stream = 0;
    for (const Parameter& p : graph().parameters) {
      const std::span<T> v = mutable_values(p);
      Random random{seed, stream++, 0x696E6974u};
      if (p.interpolates) {
        detail::fill_with_interpolation(p, v);
        continue;
      }
      const double fan_in = p.taps * p.in;
      const double fan_out = static_cast<double>(p.kernel.volume()) * p.out;
      const bool he = how == Initialization::he_normal || how == Initialization::he_uniform;
      const double spread = he ? 2.0 / fan_in : 2.0 / (fan_in + fan_out);
      const auto deviation = static_cast<float>(std::sqrt(spread));
      const auto bound = static_cast<float>(std::sqrt(3.0 * spread));
      const bool normal = how == Initialization::he_normal || how == Initialization::glorot_normal;
      for (T& x : v) switch (p.kind) {
          case ParameterKind::weight:
          case ParameterKind::transposed_weight:
          case ParameterKind::linear_weight:
            x = static_cast<T>(normal ? deviation * random.normal() : random.uniform(-bound, bound));
            break;
          case ParameterKind::scale:
          case ParameterKind::running_variance:
            x = T{1};
            break;
          case ParameterKind::bias:
          case ParameterKind::running_mean:
          case ParameterKind::embedding:
            x = T{0};
            break;
        }
    }
  }

 private:
  void begin_change() {
    settle();
    ++revision_;
    streamed_ = {};
  }

  Buffer<T> parameters_;
  Buffer<T> state_;
  StreamedFile streamed_{};
  std::uint64_t revision_ = 1;
  Source source_{};
  mutable bool outdated_ = false;
};

}  // namespace ulna
