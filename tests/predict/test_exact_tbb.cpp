// SPDX-License-Identifier: MIT
// Tiled equals whole, to the bit, on the oneTBB backend.
#include "exact_cases.hpp"
#include "ulna/backend/tbb/tbb.hpp"

using namespace ulna;
using namespace ulna::testing;

TEST_CASE("depth 1") { check_depth_one<cpu::Tbb<float>>(cpu::Tbb<float>{2}); }
TEST_CASE("depth 2 and 3") { check_deeper<cpu::Tbb<float>>(cpu::Tbb<float>{2}); }
TEST_CASE("valid and reflected padding") { check_paddings<cpu::Tbb<float>>(cpu::Tbb<float>{2}); }
TEST_CASE("other ways down and up, channels that no vector width divides") {
  check_ways<cpu::Tbb<float>>(cpu::Tbb<float>{2});
}
