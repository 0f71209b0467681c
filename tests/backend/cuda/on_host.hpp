// SPDX-License-Identifier: MIT
// The CUDA backend's ops done by the host: the same bodies over the same schedules.
#pragma once

#include "../op_cases.hpp"
#include "ulna/backend/cuda/ops.hpp"

namespace ulna::conformance {

/// A backend of the CUDA bodies. With `Backwards`, blocks and threads run in falling order.
template <class T, bool Backwards = false>
struct CudaOnHost {
  using Element = T;
  using Master = float;

  int threads() const { return 1; }
  void run(auto&& f) const { f(); }
  void parallel_for_blocks(std::int64_t count, std::int64_t, auto&& f) const { f(std::int64_t{0}, count); }

  template <Op op>
  static constexpr Kernel<T> kernel(const Node&) {
    if constexpr (is_leaf(op) || op == Op::slice || op == Op::count || cuda::is_convolution(op))
      return nullptr;
    else
      return [](const Call<T>& call) {
        const cuda::RunState state{call.seed.value, call.step};
        cuda::launcher<op, cuda::HostExecution, T>()(cuda::HostExecution{.run = &state, .backwards = Backwards}, call);
      };
  }

  template <Op op>
  static std::size_t scratch_bytes(const Call<T>& call, int) {
    return cuda::scratch_bytes<op>(call);
  }
};

static_assert(Backend<CudaOnHost<float>> && Backend<CudaOnHost<bf16>>);

}  // namespace ulna::conformance
