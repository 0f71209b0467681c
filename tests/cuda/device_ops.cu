// SPDX-License-Identifier: MIT
// Single nodes on the device.
#include <algorithm>
#include <utility>

#include "device.hpp"
#include "ulna/cuda.hpp"

namespace ulna::testing {

namespace {

template <class A>
using Device = cuda::Device<float, A>;

/// Calls visit.operator()<op>() for a run-time op.
template <int I = 0>
auto with_op(Op op, const auto& visit) {
  if constexpr (I + 1 == static_cast<int>(Op::count))
    return visit.template operator()<static_cast<Op>(I)>();
  else
    return op == static_cast<Op>(I) ? visit.template operator()<static_cast<Op>(I)>() : with_op<I + 1>(op, visit);
}

const cuda::DevicePlatform& platform() {
  static const cuda::DevicePlatform opened(0);
  return opened;
}

/// The operands of a call on the device. Tensors that begin at one place share memory there too.
class Operands {
 public:
  Tensor<float> on_device(const Tensor<float>& host) {
    if (!host) return host;
    Tensor<float> copy = host;
    for (const Copied& c : copied_)
      if (c.host == host.data) {
        copy.data = c.device.data();
        return copy;
      }
    const auto rows = static_cast<std::size_t>(host.batch * host.pixels());
    const std::size_t count = rows == 0 ? 0
                                        : (rows - 1) * static_cast<std::size_t>(host.pixel_stride) +
                                              static_cast<std::size_t>(host.shape.channels);
    copied_.push_back({host.data, platform().memory<float>(count)});
    copy.data = copied_.back().device.data();
    platform().copy(copy.data, host.data, count * sizeof(float));
    return copy;
  }
  /// What lies between the operands' channels comes back too: it must not have changed.
  void copy_back() const {
    for (const Copied& c : copied_) platform().copy(c.host, c.device.data(), c.device.size() * sizeof(float));
  }

 private:
  struct Copied {
    float* host;
    cuda::DevicePlatform::Memory<float> device;
  };
  std::vector<Copied> copied_;
};

template <class A>
void run_with(Op op, const Call<float>& call) {
  Operands operands;
  Call<float> there = call;
  for (Tensor<float>& t : there.input) t = operands.on_device(t);
  there.output = operands.on_device(call.output);
  const auto scratch = platform().memory<std::byte>(call.scratch.size());
  platform().copy(scratch.data(), call.scratch.data(), call.scratch.size());
  there.scratch = {scratch.data(), scratch.size()};
  const cuda::RunState state{call.seed.value, call.step};
  const auto run = platform().memory<cuda::RunState>(1);
  platform().copy(run.data(), &state, sizeof(state));
  with_op(op, [&]<Op o>() {
    if constexpr (!is_leaf(o) && o != Op::slice && o != Op::count)
      Device<A>::template kernel<o> (*call.node)(platform().execution(run.data()), there);
  });
  operands.copy_back();
  platform().wait();
}

}  // namespace

std::string why_no_device() {
  try {
    const Device<cuda::arithmetic::Exact> device;
    return "";
  } catch (const cuda::Error& e) {
    return e.what();
  }
}

void run_on_device(Op op, Products products, const Call<float>& call) {
  products == Products::exact ? run_with<cuda::arithmetic::Exact>(op, call)
                              : run_with<cuda::arithmetic::Tf32>(op, call);
}

std::size_t device_scratch_bytes(Op op, Products products, const Call<float>& call) {
  return with_op(op, [&]<Op o>() -> std::size_t {
    if (products == Products::exact) return Device<cuda::arithmetic::Exact>::scratch_bytes<o>(call, 1);
    return Device<cuda::arithmetic::Tf32>::scratch_bytes<o>(call, 1);
  });
}

}  // namespace ulna::testing
