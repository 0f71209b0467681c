// SPDX-License-Identifier: MIT
// What a backend is. A policy type binds each node of a graph to a kernel; nothing else of Ulna knows who computes.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "ulna/backend/tensor.hpp"

namespace ulna {

/// What binds nodes to kernels:
///   Element                          the type of activations
///   Master                           optional: the type of everything else, such as parameters; by default Element
///   kernel<op>(node)                 the kernel for a node of that op, chosen in a constant expression
///   scratch_bytes<op>(call, threads) working memory that the kernel needs for this call (data pointers not yet set)
///   packed_weights                   optional: the order of packed weights of 1x1 convolutions that its kernels read;
///                                    of 3x3 convolutions they then read WeightOrder::blocks
///   Footprint                        optional: what an output's bits depend on in exact tiles (graph/analyse.hpp)
///   Tiles                            optional: the backend of exact tiles, made from a B; by default B
template <class B>
concept Backend = requires(const Node& node, const Call<typename B::Element>& call) {
  typename B::Element;
  B::template kernel<Op::convolution>(node);
  { B::template scratch_bytes<Op::convolution>(call, 1) } -> std::same_as<std::size_t>;
};

/// A backend whose kernels run where the caller's memory is:
///   threads()                        how many threads run a kernel
///   run(f)                           calls f() where kernels may use those threads
///   parallel_for_blocks(n, block, f) calls f(begin, end) for the blocks of [0, n): optimizers
template <class B>
concept CpuBackend = Backend<B> &&
    requires(B backend, const Node& node, void (*f)(), void (*of_block)(std::int64_t, std::int64_t)) {
  { B::template kernel<Op::convolution>(node) } -> std::same_as<Kernel<typename B::Element>>;
  { backend.threads() } -> std::same_as<int>;
  backend.run(f);
  backend.parallel_for_blocks(std::int64_t{1}, std::int64_t{1}, of_block);
};

/// The type of a backend's kernels.
template <Backend B>
using KernelOf = decltype(B::template kernel<Op::convolution>(std::declval<const Node&>()));

namespace detail {
template <class B>
struct MasterOf {
  using type = typename B::Element;
};
template <class B>
requires requires { typename B::Master; }
struct MasterOf<B> {
  using type = typename B::Master;
};
}  // namespace detail

/// The type in which a backend keeps parameters and what is derived from them, their gradients, statistics, losses,
/// labels and pixel weights.
template <class B>
using MasterOf = typename detail::MasterOf<B>::type;

/// The order of packed weights of 1x1 convolutions that a backend's kernels read; rows: it takes none.
template <class B>
inline constexpr WeightOrder packed_order = WeightOrder::rows;
template <class B>
requires requires { B::packed_weights; }
inline constexpr WeightOrder packed_order<B> = B::packed_weights;

}  // namespace ulna
