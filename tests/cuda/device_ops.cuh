// SPDX-License-Identifier: MIT
// Single nodes on the device, for device_ops*.cu.
#pragma once

#include <cstdint>
#include <type_traits>
#include <vector>

#include "device.hpp"
#include "ulna/cuda.hpp"

namespace ulna::testing {

/// Calls visit.operator()<op>() for a run-time op.
template <int I = 0>
auto with_op(Op op, const auto& visit) {
  if constexpr (I + 1 == static_cast<int>(Op::count))
    return visit.template operator()<static_cast<Op>(I)>();
  else
    return op == static_cast<Op>(I) ? visit.template operator()<static_cast<Op>(I)>() : with_op<I + 1>(op, visit);
}

inline const cuda::DevicePlatform& platform() {
  static const cuda::DevicePlatform opened(0);
  return opened;
}

/// The operands of a call on the device, as far from a multiple of 16 bytes as on the host. Tensors that begin at one
/// place share memory there too.
template <class T>
class Operands {
 public:
  Tensor<T> on_device(const Tensor<T>& host, bool activation) {
    if (!host) return host;
    Tensor<T> copy = host;
    for (const Copied& c : copied_)
      if (c.host == host.data) {
        copy.data = reinterpret_cast<T*>(c.device.data() + c.before);
        return copy;
      }
    const auto rows = static_cast<std::size_t>(host.batch * host.pixels());
    const std::size_t count = rows == 0 ? 0
                                        : (rows - 1) * static_cast<std::size_t>(host.pixel_stride) +
                                              static_cast<std::size_t>(host.shape.channels);
    const std::size_t bytes = count * (activation ? sizeof(T) : sizeof(float));
    const std::size_t before = reinterpret_cast<std::uintptr_t>(host.data) % 16;
    copied_.push_back({host.data, before, bytes, platform().memory<std::byte>(before + bytes)});
    std::byte* const there = copied_.back().device.data() + before;
    platform().copy(there, host.data, bytes);
    copy.data = reinterpret_cast<T*>(there);
    return copy;
  }
  /// What lies between the operands' channels comes back too: it must not have changed.
  void copy_back() const {
    for (const Copied& c : copied_) platform().copy(c.host, c.device.data() + c.before, c.bytes);
  }

 private:
  struct Copied {
    T* host;
    std::size_t before, bytes;
    cuda::DevicePlatform::Memory<std::byte> device;
  };
  std::vector<Copied> copied_;
};

template <class T, class A>
void run_node(Op op, const Call<T>& call, const Activations& activations) {
  Operands<T> operands;
  Call<T> there = call;
  for (std::size_t i = 0; i < max_inputs; ++i) there.input[i] = operands.on_device(call.input[i], activations[i]);
  there.output = operands.on_device(call.output, activations[max_inputs]);
  const auto scratch = platform().memory<std::byte>(call.scratch.size());
  platform().copy(scratch.data(), call.scratch.data(), call.scratch.size());
  there.scratch = {scratch.data(), scratch.size()};
  const cuda::RunState state{call.seed.value, call.step};
  const auto run = platform().memory<cuda::RunState>(1);
  platform().copy(run.data(), &state, sizeof(state));
  with_op(op, [&]<Op o>() {
    if constexpr (!is_leaf(o) && o != Op::slice && o != Op::count)
      cuda::Device<T, A>::template kernel<o> (*call.node)(platform().execution(run.data()), there);
  });
  operands.copy_back();
  platform().wait();
}

template <class T, class A>
std::size_t scratch_bytes(Op op, const Call<T>& call) {
  return with_op(op, [&]<Op o>() -> std::size_t { return cuda::Device<T, A>::template scratch_bytes<o>(call, 1); });
}

}  // namespace ulna::testing
