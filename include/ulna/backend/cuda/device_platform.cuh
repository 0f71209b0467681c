// SPDX-License-Identifier: MIT
// A CUDA device as a platform (platform.hpp): memory, one stream, and graphs that are captured from it.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <utility>

#include "ulna/backend/cuda/convolution.cuh"
#include "ulna/backend/cuda/launch.cuh"
#include "ulna/backend/cuda/support.cuh"

namespace ulna::cuda {

namespace detail {

/// Makes a device current for a scope: memory and streams belong to the current one.
class [[nodiscard]] Current {
 public:
  explicit Current(int index) {
    check(cudaGetDevice(&previous_), "asking for the current device");
    if (previous_ != index) check(cudaSetDevice(index), "selecting device " + std::to_string(index));
  }
  Current(const Current&) = delete;
  Current& operator=(const Current&) = delete;
  ~Current() { (void)cudaSetDevice(previous_); }

 private:
  int previous_ = 0;
};

template <auto Release>
struct Releaser {
  template <class Handle>
  void operator()(Handle* handle) const {
    (void)Release(handle);  // nothing can be done about a failure
  }
};
using Stream = std::unique_ptr<CUstream_st, Releaser<cudaStreamDestroy>>;
using Graph = std::unique_ptr<CUgraph_st, Releaser<cudaGraphDestroy>>;
using Event = std::unique_ptr<CUevent_st, Releaser<cudaEventDestroy>>;
using GraphExec = std::unique_ptr<CUgraphExec_st, Releaser<cudaGraphExecDestroy>>;

/// Zeroed memory that one function takes and another gives back.
template <class T, auto Release>
class OwnedMemory {
 public:
  OwnedMemory() = default;
  OwnedMemory(T* data, std::size_t count) : data_(data), count_(count) {}
  T* data() const { return data_.get(); }
  std::size_t size() const { return count_; }

 private:
  struct Free {
    void operator()(T* p) const { (void)Release(p); }
  };
  std::unique_ptr<T, Free> data_;
  std::size_t count_ = 0;
};

/// Only there to ask whether this program holds code for a device.
template <int>
__global__ void probe_kernel() {}

/// Waits. The counter may advance by a microsecond at a time.
template <int>
__global__ void delay_kernel(std::uint64_t nanoseconds) {
  std::uint64_t begin, now;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(begin));
  do {
    __nanosleep(500);
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
  } while (now - begin < nanoseconds);
}

/// The count that cudaGetDeviceCount() gave with `status`; throws Error with the reason when there is no device to use.
inline int usable_devices(cudaError_t status, int count, int driver_version) {
  if (status == cudaErrorInsufficientDriver) {
    (void)cudaGetLastError();
    if (driver_version == 0)
      throw Error("cuda::Device: there is no NVIDIA driver on this machine (" + words_of(status) + ")");
    throw Error("cuda::Device: the NVIDIA driver is for CUDA " + version_text(driver_version) +
                ", this program was built with CUDA " + version_text(CUDART_VERSION) +
                "; install a newer driver or build with an older toolkit (" + words_of(status) + ")");
  }
  if (status == cudaErrorNoDevice || (status == cudaSuccess && count == 0)) {
    (void)cudaGetLastError();
    throw Error("cuda::Device: there is no CUDA device on this machine (" + words_of(cudaErrorNoDevice) + ")");
  }
  check(status, "cuda::Device: asking for the devices");
  return count;
}

/// How many devices there are; throws Error when there is none.
inline int device_count() {
  int count = 0;
  int driver = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  (void)cudaDriverGetVersion(&driver);
  return usable_devices(status, count, driver);
}

}  // namespace detail

/// Device `index` of this machine and one stream on it. Not for several threads at a time.
class DevicePlatform {
 public:
  using Execution = DeviceExecution;
  template <class U>
  using Memory = detail::OwnedMemory<U, cudaFree>;
  template <class U>
  using Staging = detail::OwnedMemory<U, cudaFreeHost>;
  using Recording = detail::GraphExec;
  using Mark = detail::Event;

  explicit DevicePlatform(int index) : index_(index) {
    const int count = detail::device_count();
    if (index < 0 || index >= count)
      throw Error("cuda::Device: device " + std::to_string(index) + " was asked for, there " +
                  (count == 1 ? std::string("is only device 0") : "are devices 0 to " + std::to_string(count - 1)));
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, index), "asking for the properties of device " + std::to_string(index));
    name_ = "device " + std::to_string(index) + ", " + properties.name;
    context_.architecture = 10 * properties.major + properties.minor;
    context_.multiprocessors = properties.multiProcessorCount;
    context_.shared_memory = properties.sharedMemPerBlockOptin;
    if (context_.architecture < 80)
      throw Error(name_ + ": has compute capability " + std::to_string(properties.major) + '.' +
                  std::to_string(properties.minor) + ", 8.0 or more is needed");
    const detail::Current current(index_);
    cudaFuncAttributes attributes{};
    check(cudaFuncGetAttributes(&attributes, detail::probe_kernel<0>), name_);
    cudaStream_t stream = nullptr;
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), name_ + ": creating a stream");
    stream_.reset(stream);
    context_.stream = stream;
  }

  const std::string& name() const { return name_; }
  int architecture() const { return context_.architecture; }
  int multiprocessors() const { return context_.multiprocessors; }

  std::int64_t free_bytes() const {
    const detail::Current current(index_);
    std::size_t available = 0;
    std::size_t total = 0;
    check(cudaMemGetInfo(&available, &total), name_ + ": asking for free memory");
    return static_cast<std::int64_t>(available);
  }

  template <class U>
  Memory<U> memory(std::size_t count) const {
    if (count == 0) return {};
    const detail::Current current(index_);
    void* data = nullptr;
    check(cudaMalloc(&data, count * sizeof(U)), taking(count * sizeof(U), "device memory"));
    Memory<U> taken(static_cast<U*>(data), count);
    check(cudaMemsetAsync(data, 0, count * sizeof(U), stream_.get()), name_ + ": clearing memory");
    wait();
    return taken;
  }

  template <class U>
  Staging<U> staging(std::size_t count) const {
    if (count == 0) return {};
    const detail::Current current(index_);
    void* data = nullptr;
    check(cudaMallocHost(&data, count * sizeof(U)), taking(count * sizeof(U), "page-locked memory of the host"));
    Staging<U> taken(static_cast<U*>(data), count);
    for (std::size_t i = 0; i < count; ++i) std::construct_at(taken.data() + i);
    return taken;
  }

  void copy(void* to, const void* from, std::size_t bytes) const {
    if (bytes == 0) return;
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream_.get()), name_ + ": copying");
  }
  void copy_rows(void* to, const void* from, std::size_t row, std::size_t rows, std::size_t pitch) const {
    check(cudaMemcpy2DAsync(to, row, from, pitch, row, rows, cudaMemcpyDefault, stream_.get()), name_ + ": copying");
  }

  /// Valid as long as the platform.
  Execution execution(const RunState* run) const {
    Execution on(context_);
    on.run = run;
    return on;
  }

  Recording record(const auto& work) const {
    const detail::Current current(index_);
    // relaxed: the runtime may load a kernel at its first launch
    check(cudaStreamBeginCapture(stream_.get(), cudaStreamCaptureModeRelaxed), name_ + ": recording");
    std::exception_ptr failure;
    try {
      work();
    } catch (...) {
      failure = std::current_exception();  // the stream must leave its capture first
    }
    cudaGraph_t captured = nullptr;
    const cudaError_t ended = cudaStreamEndCapture(stream_.get(), &captured);
    const detail::Graph graph(captured);
    if (failure) {
      (void)cudaGetLastError();
      std::rethrow_exception(failure);
    }
    check(ended, name_ + ": recording");
    cudaGraphExec_t executable = nullptr;
    check(cudaGraphInstantiate(&executable, graph.get(), 0), name_ + ": making a graph of a run");
    return Recording(executable);
  }

  void replay(const Recording& recording) const {
    const detail::Current current(index_);
    check(cudaGraphLaunch(recording.get(), stream_.get()), name_ + ": starting a run");
  }

  void run(const auto& work) const {
    const detail::Current current(index_);
    work();
  }
  void mark(Mark& m) const {
    if (!m) {
      cudaEvent_t event = nullptr;
      check(cudaEventCreate(&event), name_ + ": creating an event");
      m.reset(event);
    }
    check(cudaEventRecord(m.get(), stream_.get()), name_ + ": recording an event");
  }
  double seconds(const Mark& from, const Mark& to) const {
    float milliseconds = 0.0f;
    check(cudaEventElapsedTime(&milliseconds, from.get(), to.get()),
          name_ + ": asking for the time between two events");
    return 1e-3 * static_cast<double>(milliseconds);
  }
  void delay(double seconds) const {
    launch(context_, "delay", detail::delay_kernel<0>, 1, 1, 0, static_cast<std::uint64_t>(seconds * 1e9));
  }

  void wait() const {
    const cudaError_t status = cudaStreamSynchronize(stream_.get());
    if (status != cudaSuccess) check(status, name_ + ": a kernel or copy failed (profile() says at which node)");
  }

 private:
  std::string taking(std::size_t bytes, const char* what) const {
    return name_ + ": taking " + detail::mebibytes(static_cast<std::int64_t>(bytes)) + " of " + what + " (" +
           detail::mebibytes(free_bytes()) + " are free on the device)";
  }

  int index_;
  std::string name_;
  KernelContext context_{};
  detail::Stream stream_;
};

}  // namespace ulna::cuda
