// SPDX-License-Identifier: MIT
#include <cstdio>
#include <ulna/data/image_file.hpp>
#include <ulna/error.hpp>
#include <ulna/random.hpp>

float second();

int main() {
  ulna::Random random{ulna::Seed{7}};
  const float first = random.uniform();
  std::printf("%.9g %.9g\n", static_cast<double>(first), static_cast<double>(second()));
  return first == second() ? 0 : 1;
}
