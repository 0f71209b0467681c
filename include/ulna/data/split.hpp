// SPDX-License-Identifier: MIT
// Which pairs of a data folder are trained on and which are tested on.
#pragma once

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ulna/error.hpp"

namespace ulna {

/// The stems (file names without extension) of a data folder, by use.
struct Split {
  std::vector<std::string> train, validation, test;
};

/// The split of a folder without lists: stems sorted, every fifth (5th, 10th, ...) to test, the rest to train; of fewer
/// than five the last is the test. The same names always give the same split.
inline Split automatic_split(std::vector<std::string> stems) {
  std::sort(stems.begin(), stems.end());
  Split split;
  for (std::size_t i = 0; i < stems.size(); ++i) {
    const bool test = i % 5 == 4 || (stems.size() < 5 && i + 1 == stems.size());
    (test ? split.test : split.train).push_back(stems[i]);
  }
  return split;
}

namespace detail {

/// The lines of a list, spaces trimmed, empty lines left out; nothing when there is no such file.
inline std::optional<std::vector<std::string>> read_stem_list(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) return std::nullopt;
  std::ifstream stream(path);
  if (!stream) throw FileError("'" + path.string() + "' cannot be opened; it should list one stem a line");
  const auto space = [](unsigned char c) { return std::isspace(c) != 0; };
  std::vector<std::string> stems;
  for (std::string line; std::getline(stream, line);) {
    const auto first = std::find_if_not(line.begin(), line.end(), space);
    const auto last = std::find_if_not(line.rbegin(), std::make_reverse_iterator(first), space).base();
    if (first != last) stems.emplace_back(first, last);
  }
  if (stems.empty()) throw DataError("'" + path.string() + "' is empty; list one stem a line, or remove it");
  return stems;
}

}  // namespace detail

/// The split of `folder`, whose images have the given stems, by its lists `train.txt`, `val.txt`, `test.txt` (one stem
/// a line, each optional). Stems in no list: they train if only train.txt is missing, test if only test.txt is missing,
/// are split by automatic_split if both are, and are left out if both are there. Throws DataError for an empty list, a
/// listed stem without an image, and a stem listed twice (a test on what was trained on means nothing).
inline Split read_split(const std::filesystem::path& folder, const std::vector<std::string>& stems) {
  const auto train = detail::read_stem_list(folder / "train.txt");
  const auto validation = detail::read_stem_list(folder / "val.txt");
  const auto test = detail::read_stem_list(folder / "test.txt");

  std::map<std::string, std::string> listed_in;  // stem -> list
  const auto check = [&](const auto& list, const char* name) {
    if (!list) return;
    for (const std::string& stem : *list) {
      if (std::find(stems.begin(), stems.end(), stem) == stems.end()) {
        throw DataError("'" + (folder / name).string() + "' lists '" + stem + "', but there is no such image in '" +
                        folder.string() + "'; list file names without folder and extension");
      }
      const auto [entry, is_new] = listed_in.emplace(stem, name);
      if (!is_new) {
        throw DataError("'" + folder.string() + "': '" + stem + "' is listed in " + entry->second + " and again in " +
                        name + "; each stem may be listed once");
      }
    }
  };
  check(train, "train.txt");
  check(validation, "val.txt");
  check(test, "test.txt");

  std::vector<std::string> unlisted;
  for (const std::string& stem : stems) {
    if (!listed_in.contains(stem)) unlisted.push_back(stem);
  }
  Split split;
  if (!train && !test) {
    split = automatic_split(unlisted);
  } else {
    std::sort(unlisted.begin(), unlisted.end());
    split.train = train.value_or(unlisted);
    split.test = test.value_or(unlisted);
  }
  split.validation = validation.value_or(std::vector<std::string>{});
  return split;
}

}  // namespace ulna
