// SPDX-License-Identifier: MIT
// Weights that are packed for one backend are nothing that another reads.
// expect: "packed for another backend" "run Packed<P, B> on B"
#include <ulna/backend/tbb/tbb.hpp>
#include <ulna/layer/conv.hpp>
#include <ulna/predict/frozen.hpp>

struct Product {
  static constexpr const char* name = "Product";
  static constexpr ulna::Value lower(ulna::Builder& b, ulna::Value x) {
    return ulna::layer::conv(b, x, {.channels = 64, .kernel = 1});
  }
};
using P = ulna::Program<Product, ulna::Image<32, 8, 8>>;
#ifdef ULNA_POSITIVE_CONTROL
using Element = ulna::bf16;
#else
using Element = float;
#endif
using Bound =
    ulna::Binding<ulna::InferenceProgram<ulna::Packed<P, ulna::cpu::Tbb<ulna::bf16>>>, ulna::cpu::Tbb<Element>>;
static_assert(Bound::persistent_size == 0);
