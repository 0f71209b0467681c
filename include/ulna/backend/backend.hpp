// SPDX-License-Identifier: MIT
// What a backend is. A policy type binds each node of a graph to a kernel; nothing else of Ulna knows who computes.
#pragma once

#include <concepts>
#include <cstddef>

#include "ulna/backend/tensor.hpp"

namespace ulna {

/// A CPU backend:
///   Element                          the type of activations
///   Master                           optional: the type of everything else, such as parameters; by default Element
///   kernel<op>(node)                 the kernel for a node of that op, chosen in a constant expression
///   scratch_bytes<op>(call, threads) working memory that the kernel needs for this call (data pointers not yet set)
///   threads()                        how many threads run a kernel
///   run(f)                           calls f() where kernels may use those threads
///   parallel_for_blocks(n, block, f) calls f(begin, end) for the blocks of [0, n): optimizers
///   Footprint                        optional: what an output's bits depend on (graph/analyse.hpp), for exact tiling
template <class B>
concept Backend = requires(B backend, const Node& node, const Call<typename B::Element>& call) {
  typename B::Element;
  { B::template kernel<Op::convolution>(node) } -> std::same_as<Kernel<typename B::Element>>;
  { B::template scratch_bytes<Op::convolution>(call, 1) } -> std::same_as<std::size_t>;
  { backend.threads() } -> std::same_as<int>;
  backend.run([] {});
  backend.parallel_for_blocks(std::int64_t{1}, std::int64_t{1}, [](std::int64_t, std::int64_t) {});
};

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

}  // namespace ulna
