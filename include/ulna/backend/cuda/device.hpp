// SPDX-License-Identifier: MIT
// The policy that puts a program on a device.
#pragma once

#include <memory>
#include <type_traits>

#include "ulna/backend/backend.hpp"
#include "ulna/backend/cuda/convolution.hpp"
#include "ulna/backend/cuda/convolution_weight_gradient.hpp"
#include "ulna/backend/cuda/ops.hpp"
#include "ulna/backend/cuda/platform.hpp"
#include "ulna/backend/cuda/winograd.hpp"
#include "ulna/bf16.hpp"

namespace ulna::cuda {

/// How products of float matrices are computed. bfloat16 activations are multiplied as such.
namespace arithmetic {

/// In float, as the CPU does; 3x3 convolutions of stride 1 as Winograd's F(4x4, 3x3) where that is faster
/// (winograd_plan.hpp), with rounding errors about ten times as large, 1e-6 to 1e-5 of the values. Transformed weights
/// take four times the memory: an inference holds them all, training one at a time.
struct Exact {};
/// In float, every sum as its formula says.
struct Direct : Exact {};
/// Exact, as Winograd's wherever a convolution can be: to measure where it wins.
struct Winograd : Exact {};
/// On tensor cores: factors are rounded to 11 significant bits, sums are float.
struct Tf32 {};
/// A, each sum as its formula says and in one piece: slower, but a pixel's bits depend neither on how many there are
/// nor on where it lies. So are tiles computed that must equal the whole image.
template <class A>
struct Unsplit : A {};

}  // namespace arithmetic

namespace detail {

template <class T, class A>
constexpr Arithmetic products_of() {
  if constexpr (std::is_same_v<T, bf16>) return Arithmetic::bf16;
  return std::is_base_of_v<arithmetic::Exact, A> ? Arithmetic::exact : Arithmetic::tf32;
}

template <class A>
struct UnsplitOf {
  using type = arithmetic::Unsplit<A>;
};
template <class A>
struct UnsplitOf<arithmetic::Unsplit<A>> {
  using type = arithmetic::Unsplit<A>;
};

}  // namespace detail

/// A backend on a Platform (platform.hpp). T is the type of activations, float or bf16; parameters, their gradients,
/// statistics and losses are float. Copies share the device.
template <class T, class A, class Platform>
class BasicDevice {
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, bf16>, "cuda::Device: activations are float or bf16");

 public:
  using Element = T;
  using Master = float;
  using PlatformType = Platform;
  using Execution = typename Platform::Execution;
  static constexpr Arithmetic products = detail::products_of<T, A>();
  using Launcher = void (*)(const Execution&, const Call<T>&);
  /// The backend of tiles, the same device.
  using Tiles = BasicDevice<T, typename detail::UnsplitOf<A>::type, Platform>;

  /// The first device.
  BasicDevice() : BasicDevice(0) {}
  /// Opens device `index`. Throws cuda::Error where there is no such device, or it cannot run this program.
  explicit BasicDevice(int index) : platform_(std::make_shared<Platform>(index)) {}

  /// The same device.
  template <class Other>
  requires(!std::is_same_v<Other, A>) explicit BasicDevice(const BasicDevice<T, Other, Platform>& device)
      : platform_(device.platform_) {}

  const Platform& platform() const { return *platform_; }

  /// What enqueues a node's work; null for leaves and slices, which never run.
  template <Op op>
  static constexpr Launcher kernel(const Node&) {
    constexpr bool convolves = op == Op::convolution || op == Op::transposed_convolution;
    if constexpr (convolves && winograd)
      return &exact_convolution<always_winograd, Execution>;
    else if constexpr (convolves)
      return &convolution<products, Execution, T, splits>;
    else if constexpr (op == Op::convolution_weight_gradient)
      return &convolution_weight_gradient<products, Execution, T>;
    else
      return launcher<op, Execution, T, products>();
  }

  template <Op op>
  static std::size_t scratch_bytes(const Call<T>& call, int /*threads*/) {
    constexpr bool convolves = op == Op::convolution || op == Op::transposed_convolution;
    if constexpr (convolves && winograd)
      return exact_convolution_scratch_bytes<always_winograd>(call);
    else if constexpr (convolves)
      return convolution_scratch_bytes<products>(call);
    else if constexpr (op == Op::convolution_weight_gradient)
      return convolution_weight_gradient_scratch_bytes<products>(call);
    else
      return cuda::scratch_bytes<op>(call);
  }

  /// Of the weight of a convolution: see cuda::packed_weight_bytes().
  static std::size_t packed_weight_bytes(const Execution& on, const Call<T>& call, bool aligned) {
    if constexpr (winograd)
      return exact_packed_weight_bytes<always_winograd>(on, call, aligned);
    else
      return cuda::packed_weight_bytes<products, splits>(on, call, aligned);
  }
  static void pack_weight(const Execution& on, const Call<T>& call, std::byte* to) {
    if constexpr (winograd)
      exact_pack_weight<always_winograd>(on, call, to);
    else
      cuda::pack_weight<products, splits>(on, call, to);
  }

 private:
  template <class, class, class>
  friend class BasicDevice;

  static constexpr bool splits = !std::is_same_v<A, typename detail::UnsplitOf<A>::type>;
  static constexpr bool winograd = products == Arithmetic::exact && splits && !std::is_base_of_v<arithmetic::Direct, A>;

  static constexpr bool always_winograd = std::is_base_of_v<arithmetic::Winograd, A>;

  std::shared_ptr<const Platform> platform_;
};

}  // namespace ulna::cuda
