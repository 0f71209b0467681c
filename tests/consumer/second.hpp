// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

/// The parameter count of the network in main.cpp, as another translation unit sees it.
std::int64_t parameters_seen_elsewhere();
