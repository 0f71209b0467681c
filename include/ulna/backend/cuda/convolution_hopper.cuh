// SPDX-License-Identifier: MIT
// The matrix instructions of Hopper's warpgroups. They exist in code for sm_90a alone; elsewhere this compiles to a
// trap that nobody reaches, because has_warpgroup_products() is false there.
#pragma once

#include <cstdint>

#include "ulna/backend/cuda/convolution_hopper.hpp"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define ULNA_HAS_WARPGROUPS 1
#else
#define ULNA_HAS_WARPGROUPS 0
#endif

namespace ulna::cuda::detail {

/// d += a b, asynchronously: 64 rows, Columns columns, 16 terms of bf16 or 8 of tf32.
template <Arithmetic A, int Columns>
struct WarpgroupInstruction;

/// The same in tf32, with a in registers: a lane holds rows lane / 4 and that plus 8 of its warp's 16, terms lane % 4
/// and that plus 4.
template <int Columns>
struct WordsInstruction;

#if ULNA_HAS_WARPGROUPS

#define ULNA_SUMS(j) "+f"(d[j][0]), "+f"(d[j][1]), "+f"(d[j][2]), "+f"(d[j][3])

// clang-format off
template <>
struct WarpgroupInstruction<Arithmetic::bf16, 64> {
  template <bool AcrossA>
  __device__ static void run(float (*d)[4], std::uint64_t a, std::uint64_t b) {
    asm volatile(
        "{wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
        "%32, %33, 1, 1, 1, %34, 1;}"
        : ULNA_SUMS(0), ULNA_SUMS(1), ULNA_SUMS(2), ULNA_SUMS(3),
          ULNA_SUMS(4), ULNA_SUMS(5), ULNA_SUMS(6), ULNA_SUMS(7)
        : "l"(a), "l"(b), "n"(AcrossA ? 1 : 0));
  }
};

template <>
struct WarpgroupInstruction<Arithmetic::bf16, 128> {
  template <bool AcrossA>
  __device__ static void run(float (*d)[4], std::uint64_t a, std::uint64_t b) {
    asm volatile(
        "{wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
        "%64, %65, 1, 1, 1, %66, 1;}"
        : ULNA_SUMS(0), ULNA_SUMS(1), ULNA_SUMS(2), ULNA_SUMS(3),
          ULNA_SUMS(4), ULNA_SUMS(5), ULNA_SUMS(6), ULNA_SUMS(7),
          ULNA_SUMS(8), ULNA_SUMS(9), ULNA_SUMS(10), ULNA_SUMS(11),
          ULNA_SUMS(12), ULNA_SUMS(13), ULNA_SUMS(14), ULNA_SUMS(15)
        : "l"(a), "l"(b), "n"(AcrossA ? 1 : 0));
  }
};

template <>
struct WarpgroupInstruction<Arithmetic::bf16, 256> {
  template <bool AcrossA>
  __device__ static void run(float (*d)[4], std::uint64_t a, std::uint64_t b) {
    asm volatile(
        "{wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
        "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
        "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "
        "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "
        "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127}, "
        "%128, %129, 1, 1, 1, %130, 1;}"
        : ULNA_SUMS(0), ULNA_SUMS(1), ULNA_SUMS(2), ULNA_SUMS(3),
          ULNA_SUMS(4), ULNA_SUMS(5), ULNA_SUMS(6), ULNA_SUMS(7),
          ULNA_SUMS(8), ULNA_SUMS(9), ULNA_SUMS(10), ULNA_SUMS(11),
          ULNA_SUMS(12), ULNA_SUMS(13), ULNA_SUMS(14), ULNA_SUMS(15),
          ULNA_SUMS(16), ULNA_SUMS(17), ULNA_SUMS(18), ULNA_SUMS(19),
          ULNA_SUMS(20), ULNA_SUMS(21), ULNA_SUMS(22), ULNA_SUMS(23),
          ULNA_SUMS(24), ULNA_SUMS(25), ULNA_SUMS(26), ULNA_SUMS(27),
          ULNA_SUMS(28), ULNA_SUMS(29), ULNA_SUMS(30), ULNA_SUMS(31)
        : "l"(a), "l"(b), "n"(AcrossA ? 1 : 0));
  }
};

template <>
struct WarpgroupInstruction<Arithmetic::tf32, 64> {
  template <bool>
  __device__ static void run(float (*d)[4], std::uint64_t a, std::uint64_t b) {
    asm volatile(
        "{wgmma.mma_async.sync.aligned.m64n64k8.f32.tf32.tf32 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
        "%32, %33, 1, 1, 1;}"
        : ULNA_SUMS(0), ULNA_SUMS(1), ULNA_SUMS(2), ULNA_SUMS(3),
          ULNA_SUMS(4), ULNA_SUMS(5), ULNA_SUMS(6), ULNA_SUMS(7)
        : "l"(a), "l"(b));
  }
};

template <>
struct WarpgroupInstruction<Arithmetic::tf32, 128> {
  template <bool>
  __device__ static void run(float (*d)[4], std::uint64_t a, std::uint64_t b) {
    asm volatile(
        "{wgmma.mma_async.sync.aligned.m64n128k8.f32.tf32.tf32 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
        "%64, %65, 1, 1, 1;}"
        : ULNA_SUMS(0), ULNA_SUMS(1), ULNA_SUMS(2), ULNA_SUMS(3),
          ULNA_SUMS(4), ULNA_SUMS(5), ULNA_SUMS(6), ULNA_SUMS(7),
          ULNA_SUMS(8), ULNA_SUMS(9), ULNA_SUMS(10), ULNA_SUMS(11),
          ULNA_SUMS(12), ULNA_SUMS(13), ULNA_SUMS(14), ULNA_SUMS(15)
        : "l"(a), "l"(b));
  }
};

template <>
struct WarpgroupInstruction<Arithmetic::tf32, 256> {
  template <bool>
  __device__ static void run(float (*d)[4], std::uint64_t a, std::uint64_t b) {
    asm volatile(
        "{wgmma.mma_async.sync.aligned.m64n256k8.f32.tf32.tf32 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
        "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
        "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "
        "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "
        "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127}, "
        "%128, %129, 1, 1, 1;}"
        : ULNA_SUMS(0), ULNA_SUMS(1), ULNA_SUMS(2), ULNA_SUMS(3),
          ULNA_SUMS(4), ULNA_SUMS(5), ULNA_SUMS(6), ULNA_SUMS(7),
          ULNA_SUMS(8), ULNA_SUMS(9), ULNA_SUMS(10), ULNA_SUMS(11),
          ULNA_SUMS(12), ULNA_SUMS(13), ULNA_SUMS(14), ULNA_SUMS(15),
          ULNA_SUMS(16), ULNA_SUMS(17), ULNA_SUMS(18), ULNA_SUMS(19),
          ULNA_SUMS(20), ULNA_SUMS(21), ULNA_SUMS(22), ULNA_SUMS(23),
          ULNA_SUMS(24), ULNA_SUMS(25), ULNA_SUMS(26), ULNA_SUMS(27),
          ULNA_SUMS(28), ULNA_SUMS(29), ULNA_SUMS(30), ULNA_SUMS(31)
        : "l"(a), "l"(b));
  }
};
template <>
struct WordsInstruction<64> {
  __device__ static void run(float (*d)[4], const std::uint32_t* a, std::uint64_t b) {
    asm volatile(
        "{wgmma.mma_async.sync.aligned.m64n64k8.f32.tf32.tf32 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
        "{%32, %33, %34, %35}, %36, 1, 1, 1;}"
        : ULNA_SUMS(0), ULNA_SUMS(1), ULNA_SUMS(2), ULNA_SUMS(3),
          ULNA_SUMS(4), ULNA_SUMS(5), ULNA_SUMS(6), ULNA_SUMS(7)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
  }
};

template <>
struct WordsInstruction<128> {
  __device__ static void run(float (*d)[4], const std::uint32_t* a, std::uint64_t b) {
    asm volatile(
        "{wgmma.mma_async.sync.aligned.m64n128k8.f32.tf32.tf32 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
        "{%64, %65, %66, %67}, %68, 1, 1, 1;}"
        : ULNA_SUMS(0), ULNA_SUMS(1), ULNA_SUMS(2), ULNA_SUMS(3),
          ULNA_SUMS(4), ULNA_SUMS(5), ULNA_SUMS(6), ULNA_SUMS(7),
          ULNA_SUMS(8), ULNA_SUMS(9), ULNA_SUMS(10), ULNA_SUMS(11),
          ULNA_SUMS(12), ULNA_SUMS(13), ULNA_SUMS(14), ULNA_SUMS(15)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
  }
};
// clang-format on

#undef ULNA_SUMS

/// Between what writes sums and the first product that adds to them.
__device__ inline void begin_warpgroup_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void commit_warpgroup_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int Pending>
__device__ void wait_warpgroup_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Pending) : "memory");
}
/// What this thread wrote to shared memory becomes visible to asynchronous products.
__device__ inline void publish_shared_memory() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

#else

template <Arithmetic A, int Columns>
struct WarpgroupInstruction {
  template <bool AcrossA>
  __device__ static void run(float (*)[4], std::uint64_t, std::uint64_t) {}
};
template <int Columns>
struct WordsInstruction {
  __device__ static void run(float (*)[4], const std::uint32_t*, std::uint64_t) {}
};
__device__ inline void begin_warpgroup_products() { __trap(); }
__device__ inline void commit_warpgroup_products() {}
template <int Pending>
__device__ void wait_warpgroup_products() {}
__device__ inline void publish_shared_memory() {}

#endif

}  // namespace ulna::cuda::detail
