// SPDX-License-Identifier: MIT
// Counts every allocation of the process, whoever asks for it: operator new, malloc and its relatives.
// Include it in exactly one file of an executable.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdlib>

namespace ulna::testing {
inline std::atomic<long> allocations{0};
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)

// The sanitizers replace malloc themselves and call this at every allocation.
extern "C" void __sanitizer_malloc_hook(const volatile void*, std::size_t) { ++ulna::testing::allocations; }

#elif defined(__GLIBC__)

// glibc lets a program define these; its own stay reachable under other names. operator new calls malloc or
// aligned_alloc.
extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);

void* malloc(std::size_t size) noexcept {
  ++ulna::testing::allocations;
  return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) noexcept {
  ++ulna::testing::allocations;
  return __libc_calloc(count, size);
}
void* realloc(void* old, std::size_t size) noexcept {
  ++ulna::testing::allocations;
  return __libc_realloc(old, size);
}
void* memalign(std::size_t alignment, std::size_t size) noexcept {
  ++ulna::testing::allocations;
  return __libc_memalign(alignment, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
  ++ulna::testing::allocations;
  return __libc_memalign(alignment, size);
}
int posix_memalign(void** to, std::size_t alignment, std::size_t size) noexcept {
  ++ulna::testing::allocations;
  *to = __libc_memalign(alignment, size);
  return *to == nullptr && size != 0 ? 12 : 0;  // ENOMEM
}
}

#else
#error "these tests count allocations through glibc or a sanitizer"
#endif
