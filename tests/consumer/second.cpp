// SPDX-License-Identifier: MIT
#include <ulna/data/image_file.hpp>
#include <ulna/error.hpp>
#include <ulna/random.hpp>

float second() { return ulna::Random{ulna::Seed{7}}.uniform(); }
