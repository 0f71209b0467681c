// SPDX-License-Identifier: MIT
// The safetensors format: a 64-bit little-endian header length, a JSON header, the data of the tensors.
//   {"__metadata__": {"key": "text"}, "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...}
// Offsets count from the end of the header; together the tensors cover the data once, without holes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "ulna/error.hpp"
#include "ulna/file.hpp"
#include "ulna/weights/json.hpp"
#include "ulna/weights/tensor.hpp"

namespace ulna::safetensors {

/// The free text entries of a file.
using Metadata = std::map<std::string, std::string>;

namespace detail {

inline constexpr std::uint64_t max_header_bytes = 100'000'000;
inline constexpr std::string_view metadata_key = "__metadata__";

/// One entry of the header.
struct Entry {
  std::string name;
  DType dtype = DType::F32;
  std::vector<std::uint64_t> shape;
  std::uint64_t begin = 0, end = 0;
};

struct Header {
  std::vector<Entry> entries;
  Metadata metadata;
};

inline DType read_dtype(json::Reader& in) {
  const std::string name = in.string();
  for (const auto& row : dtype_rows) {
    if (row.name == name) return row.dtype;
  }
  std::string known;
  for (const auto& row : dtype_rows) known += (known.empty() ? "" : ", ") + std::string(row.name);
  in.refuse("the dtype " + json::quoted(name), "one of " + known);
}

inline Entry read_entry(json::Reader& in, const std::string& name) {
  Entry entry{name, {}, {}, 0, 0};
  int fields = 0;
  in.object([&](const std::string& field) {
    ++fields;
    if (field == "dtype") {
      entry.dtype = read_dtype(in);
    } else if (field == "shape") {
      in.array([&] { entry.shape.push_back(in.whole_number()); });
    } else if (field == "data_offsets") {
      std::vector<std::uint64_t> offsets;
      in.array([&] { offsets.push_back(in.whole_number()); });
      if (offsets.size() != 2) in.refuse(std::to_string(offsets.size()) + " data_offsets", "2, begin and end");
      entry.begin = offsets[0];
      entry.end = offsets[1];
    } else {
      in.refuse("the field " + json::quoted(field), "dtype, shape and data_offsets");
    }
  });
  if (fields != 3) in.refuse("tensor " + json::quoted(name) + " with a field missing", "dtype, shape and data_offsets");
  return entry;
}

inline Header read_header(std::string_view text, const std::string& file) {
  Header header;
  json::Reader in(text, file + ": header");
  if (!text.starts_with('{')) in.refuse("no object", "a '{'");
  in.object([&](const std::string& key) {
    if (key == metadata_key) {
      in.object([&](const std::string& entry) { header.metadata[entry] = in.string(); });
    } else {
      header.entries.push_back(read_entry(in, key));
    }
  });
  in.end();
  return header;
}

/// The bytes that type and shape ask for; WeightsError when 64 bits do not hold the number.
inline std::uint64_t byte_count(DType dtype, std::span<const std::uint64_t> shape, const std::string& what) {
  std::uint64_t count = dtype_size(dtype);
  for (const std::uint64_t extent : shape) {
    if (extent != 0 && count > std::numeric_limits<std::uint64_t>::max() / extent) {
      throw WeightsError(what + ": the shape asks for more than 2^64 bytes; the header is damaged");
    }
    count *= extent;
  }
  return count;
}

/// Each tensor lies where its size says, and all of them tile the data.
inline void check_layout(std::span<const Entry> entries, std::uint64_t data_bytes, const std::string& file) {
  const auto refuse = [&](const Entry& entry, const std::string& text) {
    throw WeightsError(file + ": tensor " + json::quoted(entry.name) + " has the data_offsets [" +
                       std::to_string(entry.begin) + ", " + std::to_string(entry.end) + "]; " + text);
  };
  std::vector<const Entry*> by_place;
  for (const Entry& entry : entries) {
    if (entry.begin > entry.end || entry.end > data_bytes) {
      refuse(entry, "they must lie in order within the " + std::to_string(data_bytes) + " bytes of data");
    }
    const auto size = byte_count(entry.dtype, entry.shape, file + ": tensor " + json::quoted(entry.name));
    if (entry.end - entry.begin != size) refuse(entry, "dtype and shape ask for " + std::to_string(size) + " bytes");
    by_place.push_back(&entry);
  }
  std::sort(by_place.begin(), by_place.end(),
            [](const Entry* a, const Entry* b) { return std::pair(a->begin, a->end) < std::pair(b->begin, b->end); });
  std::uint64_t covered = 0;
  for (const Entry* entry : by_place) {
    if (entry->begin < covered) refuse(*entry, "they overlap another tensor; " + std::to_string(covered) + " is free");
    if (entry->begin > covered) refuse(*entry, "they leave a hole; " + std::to_string(covered) + " is right");
    covered = entry->end;
  }
  if (covered != data_bytes) {
    throw WeightsError(file + ": " + std::to_string(data_bytes - covered) +
                       " bytes follow the last tensor; the file must end with it");
  }
}

}  // namespace detail

/// A safetensors file that was read and checked whole: either every statement of its header holds, or no File exists.
class File {
 public:
  /// Maps the file into memory; the tensors' bytes are those of the file.
  /// Throws FileError when it cannot be read, WeightsError (naming it) when it is not a sound safetensors file.
  static File open(const std::filesystem::path& path) {
    auto mapping = std::make_shared<const MappedFile>(path);
    File file(mapping->bytes(), path.string());
    file.mapping_ = std::move(mapping);
    return file;
  }

  /// Reads from memory, which must outlive the File; `name` stands in messages. Throws WeightsError.
  static File parse(std::span<const std::byte> bytes, std::string name = "safetensors data") {
    return File(bytes, std::move(name));
  }

  /// The same file with another tensor in the place of the one called `name`; its other tensors are shared, not copied.
  /// WeightsError when there is none of that name.
  template <class T>
  File with(const std::string& name, std::vector<std::uint64_t> shape, std::vector<T> elements) const {
    File changed = *this;
    const auto kept = std::make_shared<const std::vector<T>>(std::move(elements));
    const Tensor& old = at(name);
    changed.tensors_[index_.at(name)] = {old.name, dtype_of<T>(), std::move(shape), std::as_bytes(std::span(*kept))};
    changed.kept_.push_back(kept);
    return changed;
  }

  /// The tensors in the order of the header.
  const std::vector<Tensor>& tensors() const& { return tensors_; }
  const std::vector<Tensor>& tensors() const&& = delete;  // they would outlive their bytes
  const Metadata& metadata() const { return metadata_; }
  /// What the file is called in messages.
  const std::string& name() const { return name_; }

  /// The tensor of that name, or null.
  const Tensor* find(std::string_view name) const {
    const auto place = index_.find(std::string(name));
    return place == index_.end() ? nullptr : &tensors_[place->second];
  }

  /// For tensors that were copied: a mapped file's memory is given back; the tensor can still be read.
  void forget(const Tensor& tensor) const {
    const auto lies_in = [&tensor](std::span<const std::byte> all) {  // those of with() lie elsewhere
      return !std::less<>{}(tensor.bytes.data(), all.data()) &&
             std::less<>{}(tensor.bytes.data(), all.data() + all.size());
    };
    if (mapping_ && lies_in(mapping_->bytes())) mapping_->forget(tensor.bytes);
  }

  /// The tensor of that name; WeightsError when there is none.
  const Tensor& at(std::string_view name) const {
    if (const Tensor* tensor = find(name)) return *tensor;
    throw WeightsError(name_ + ": no tensor is called \"" + std::string(name) + "\" among its " +
                       std::to_string(tensors_.size()));
  }

 private:
  File(std::span<const std::byte> bytes, std::string name) : name_(std::move(name)) {
    std::uint64_t length = 0;
    if (bytes.size() < sizeof length) {
      throw WeightsError(name_ + ": found " + std::to_string(bytes.size()) +
                         " bytes; a safetensors file has at least the 8 of its header length");
    }
    std::memcpy(&length, bytes.data(), sizeof length);
    const auto rest = bytes.subspan(sizeof length);
    const std::uint64_t most = std::min<std::uint64_t>(rest.size(), detail::max_header_bytes);
    if (length > most) {
      throw WeightsError(name_ + ": the header length is " + std::to_string(length) + ", but at most " +
                         std::to_string(most) + " is possible; the file is truncated or no safetensors file");
    }
    auto header =
        detail::read_header({reinterpret_cast<const char*>(rest.data()), static_cast<std::size_t>(length)}, name_);
    const auto data = rest.subspan(static_cast<std::size_t>(length));
    detail::check_layout(header.entries, data.size(), name_);
    metadata_ = std::move(header.metadata);
    for (auto& entry : header.entries) {
      index_.emplace(entry.name, tensors_.size());
      tensors_.push_back(
          {std::move(entry.name), entry.dtype, std::move(entry.shape),
           data.subspan(static_cast<std::size_t>(entry.begin), static_cast<std::size_t>(entry.end - entry.begin))});
    }
  }

  std::string name_;
  std::shared_ptr<const MappedFile> mapping_;
  std::vector<std::shared_ptr<const void>> kept_;  ///< elements that with() put in
  std::vector<Tensor> tensors_;
  std::unordered_map<std::string, std::size_t> index_;
  Metadata metadata_;
};

/// Collects tensors and writes them as one file. It keeps views: the elements must live until they are written.
class Writer {
 public:
  explicit Writer(Metadata metadata = {}) : metadata_(std::move(metadata)) {}

  /// Appends a tensor. Throws ArgumentError when the name is taken, reserved or not UTF-8, or when the bytes do not fit
  /// type and shape.
  void add(Tensor tensor) {
    const std::string quoted = json::quoted(tensor.name);
    const auto size = detail::byte_count(tensor.dtype, tensor.shape, "tensor " + quoted);
    if (size != tensor.bytes.size()) {
      throw ArgumentError("tensor " + quoted + " of " + tensor.description() + " needs " + std::to_string(size) +
                          " bytes; " + std::to_string(tensor.bytes.size()) + " were given");
    }
    if (tensor.name == detail::metadata_key) throw ArgumentError("the tensor name " + quoted + " is reserved");
    if (!names_.insert(tensor.name).second) {
      throw ArgumentError("two tensors are called " + quoted + "; names must differ");
    }
    tensors_.push_back(std::move(tensor));
  }

  /// Appends a tensor of the elements of a span.
  template <class T>
  void add(std::string name, std::vector<std::uint64_t> shape, std::span<const T> elements) {
    add({std::move(name), dtype_of<T>(), std::move(shape), std::as_bytes(elements)});
  }

  /// Writes the file, whole or not at all (write_file_atomically). Throws FileError; ArgumentError when a metadata
  /// entry is not UTF-8 or the header too long.
  void save(const std::filesystem::path& path) const {
    const auto order = data_order();
    const std::string head = header(order);
    write_file_atomically(path, [&](FileSink& sink) {
      sink.write(head);
      for (const std::size_t i : order) sink.write(tensors_[i].bytes);
    });
  }

  /// The bytes that save() writes.
  std::vector<std::byte> to_bytes() const {
    const auto order = data_order();
    const std::string head = header(order);
    const auto head_bytes = std::as_bytes(std::span(head));
    std::vector<std::byte> out(head_bytes.begin(), head_bytes.end());
    for (const std::size_t i : order) out.insert(out.end(), tensors_[i].bytes.begin(), tensors_[i].bytes.end());
    return out;
  }

 private:
  /// The data goes by falling element size, so that every tensor is aligned to its elements, which readers that map
  /// the file rely on; the header keeps the order of the add() calls.
  std::vector<std::size_t> data_order() const {
    std::vector<std::size_t> order(tensors_.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return dtype_size(tensors_[a].dtype) > dtype_size(tensors_[b].dtype);
    });
    return order;
  }

  /// The header with its length in front, padded with spaces so that the data starts at a multiple of 64: a
  /// cache line, for readers that map the file.
  std::string header(std::span<const std::size_t> order) const {
    std::vector<std::uint64_t> begin(tensors_.size());
    std::uint64_t offset = 0;
    for (const std::size_t i : order) {
      begin[i] = offset;
      offset += tensors_[i].bytes.size();
    }
    std::string text = "{";
    const auto separate = [&] { text += text.back() == '{' ? "" : ","; };
    if (!metadata_.empty()) {
      text += json::quoted(detail::metadata_key) + ":{";
      for (const auto& [key, value] : metadata_) separate(), text += json::quoted(key) + ":" + json::quoted(value);
      text += "}";
    }
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      separate();
      text += entry_text(tensors_[i], begin[i]);
    }
    text += "}";
    constexpr std::size_t line = 64;
    text.append((line - (text.size() + sizeof(std::uint64_t)) % line) % line, ' ');
    if (text.size() > detail::max_header_bytes) {
      throw ArgumentError("the safetensors header is " + std::to_string(text.size()) + " bytes long; at most " +
                          std::to_string(detail::max_header_bytes) + " are allowed");
    }
    const std::uint64_t length = text.size();
    std::string head(sizeof length, '\0');
    std::memcpy(head.data(), &length, sizeof length);
    return head + text;
  }

  static std::string entry_text(const Tensor& tensor, std::uint64_t begin) {
    std::string text =
        json::quoted(tensor.name) + ":{\"dtype\":\"" + std::string(dtype_name(tensor.dtype)) + "\",\"shape\":[";
    for (std::size_t i = 0; i < tensor.shape.size(); ++i) text += (i == 0 ? "" : ",") + std::to_string(tensor.shape[i]);
    return text + "],\"data_offsets\":[" + std::to_string(begin) + "," + std::to_string(begin + tensor.bytes.size()) +
           "]}";
  }

  Metadata metadata_;
  std::vector<Tensor> tensors_;
  std::unordered_set<std::string> names_;
};

}  // namespace ulna::safetensors
