// SPDX-License-Identifier: MIT
// The one exception family of the library. Library code throws these; it never prints and never exits.
#pragma once

#include <stdexcept>
#include <string>

namespace ulna {

/// Base of everything Ulna throws. The message names the thing, what was found, and what would be right.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A file or folder is missing, truncated, of the wrong format or cannot be written.
class FileError : public Error {
 public:
  using Error::Error;
};

/// Values or sizes of data do not fit: extents, label indices, NaN pixels, bit depth.
class DataError : public Error {
 public:
  using Error::Error;
};

/// A weights file does not belong to this architecture, or is malformed.
class WeightsError : public Error {
 public:
  using Error::Error;
};

/// An argument is outside its documented range.
class ArgumentError : public Error {
 public:
  using Error::Error;
};

}  // namespace ulna
