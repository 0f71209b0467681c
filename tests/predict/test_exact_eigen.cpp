// SPDX-License-Identifier: MIT
// Tiled equals whole, to the bit, on the reference backend.
#include "exact_cases.hpp"
#include "ulna/backend/eigen/eigen.hpp"

using namespace ulna;
using namespace ulna::testing;

TEST_CASE("depth 1") { check_depth_one<cpu::Eigen<float>>(); }
TEST_CASE("depth 2 and 3") { check_deeper<cpu::Eigen<float>>(); }
TEST_CASE("valid and reflected padding") { check_paddings<cpu::Eigen<float>>(); }
TEST_CASE("other ways down and up, channels that no vector width divides") { check_ways<cpu::Eigen<float>>(); }
