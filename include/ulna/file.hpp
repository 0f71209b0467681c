// SPDX-License-Identifier: MIT
// Files that appear whole or not at all, and files seen as memory. POSIX.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <concepts>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "ulna/error.hpp"

namespace ulna {

class FileSink;

namespace detail {

/// Throws FileError: "<doing> <path>: <what the system says><more>".
[[noreturn]] inline void throw_system_error(const char* doing, const std::filesystem::path& path, int code,
                                            const char* more = "") {
  throw FileError(std::string(doing) + " " + path.string() + ": " + std::generic_category().message(code) + more);
}

/// An open file descriptor, closed on destruction.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { close(); }

  int number() const { return number_; }

  /// Returns 0 or the error number: some file systems report a failed write only here.
  int close() { return number_ < 0 || ::close(std::exchange(number_, -1)) == 0 ? 0 : errno; }

 private:
  int number_;
};

}  // namespace detail

/// Where write_file_atomically's callback puts the bytes of the new file.
class FileSink {
 public:
  /// Appends the bytes; FileError when the disk is full or fails.
  void write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t count = ::write(descriptor_, bytes.data(), bytes.size());
      if (count < 0 && errno == EINTR) continue;
      // A count of 0 is no error to write(), but would loop here for ever.
      if (count <= 0) detail::throw_system_error("cannot write", path_, count < 0 ? errno : ENOSPC, kept);
      bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
  }
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }

 private:
  static constexpr const char* kept = "; what was there before is unchanged";

  FileSink(int descriptor, const std::filesystem::path& path) : descriptor_(descriptor), path_(path) {}
  template <std::invocable<FileSink&> Produce>
  friend void write_file_atomically(const std::filesystem::path& path, Produce&& produce);

  int descriptor_;
  const std::filesystem::path& path_;
};

namespace detail {

/// The file a new version of `path` must replace: links are followed, and what is no ordinary file (a folder, a device)
/// is refused, since a rename would remove it.
inline std::filesystem::path replaceable(const std::filesystem::path& path) {
  std::error_code error;
  const auto target = std::filesystem::is_symlink(path, error) ? std::filesystem::weakly_canonical(path, error) : path;
  const auto status = std::filesystem::status(target, error);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    throw FileError("cannot write " + path.string() + ": it is a folder or a device; name an ordinary file");
  }
  return target;
}

/// A file beside the target, removed on destruction unless it was renamed to the target.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::filesystem::path& target) : target_(target) {
    static std::atomic<unsigned> counter{0};
    name_ = target;
    name_ += ".part-" + std::to_string(::getpid()) + "-" + std::to_string(counter++);
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    if (!renamed_) ::unlink(name_.c_str());
  }

  const char* name() const { return name_.c_str(); }

  /// Returns 0 or the error number.
  int rename() {
    if (::rename(name_.c_str(), target_.c_str()) != 0) return errno;
    renamed_ = true;
    // The rename lasts through a power cut once the folder is on disk; not every file system can be asked for that.
    const auto folder = target_.has_parent_path() ? target_.parent_path() : std::filesystem::path(".");
    const Descriptor handle(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (handle.number() >= 0) (void)::fsync(handle.number());
    return 0;
  }

 private:
  std::filesystem::path target_;
  std::filesystem::path name_;
  bool renamed_ = false;
};

}  // namespace detail

/// Writes a file that appears under its name whole or not at all: `produce(FileSink&)` fills a temporary file in the
/// same folder, which is brought to disk and then renamed over `path`.
/// Throws FileError when the folder is missing, the disk full, or `path` a folder or a device; what `produce` throws
/// passes through. In each case, and when the process is killed, a previous file stays as it was.
template <std::invocable<FileSink&> Produce>
void write_file_atomically(const std::filesystem::path& path, Produce&& produce) {
  const auto target = detail::replaceable(path);
  detail::TemporaryFile temporary(target);
  detail::Descriptor file(::open(temporary.name(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (file.number() < 0) detail::throw_system_error("cannot write", path, errno, "; does its folder exist?");
  FileSink sink(file.number(), path);
  produce(sink);
  int code = ::fsync(file.number()) == 0 ? 0 : errno;
  if (code == 0) code = file.close();
  if (code == 0) code = temporary.rename();
  if (code != 0) detail::throw_system_error("cannot write", path, code, FileSink::kept);
}

/// As above, with the whole content at hand.
inline void write_file_atomically(const std::filesystem::path& path, std::string_view content) {
  write_file_atomically(path, [content](FileSink& sink) { sink.write(content); });
}

/// Whether a mapping may be written to: such changes stay in this process, the file is never changed.
enum class Mapping : unsigned char { read_only, copy_on_write };

/// The bytes of a file, mapped into memory. Replacing the file by a rename, as write_file_atomically does,
/// leaves the mapping as it was; nobody may shorten the file in place meanwhile.
class MappedFile {
 public:
  /// Throws FileError when the file is missing, unreadable or no ordinary file.
  explicit MappedFile(const std::filesystem::path& path, Mapping mapping = Mapping::read_only)
      : writable_(mapping == Mapping::copy_on_write) {
    const detail::Descriptor file(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    if (file.number() < 0) detail::throw_system_error("cannot read", path, errno);
    struct stat status = {};
    if (::fstat(file.number(), &status) != 0) detail::throw_system_error("cannot read", path, errno);
    if (!S_ISREG(status.st_mode)) throw FileError("cannot read " + path.string() + ": it is no ordinary file");
    size_ = static_cast<std::size_t>(status.st_size);
    if (size_ == 0) return;  // mmap refuses an empty range
    data_ = ::mmap(nullptr, size_, PROT_READ | (writable_ ? PROT_WRITE : 0), MAP_PRIVATE, file.number(), 0);
    if (data_ == MAP_FAILED) detail::throw_system_error("cannot read", path, errno);
  }
  MappedFile(MappedFile&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)), writable_(other.writable_) {}
  MappedFile& operator=(MappedFile&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(writable_, other.writable_);
    return *this;
  }
  ~MappedFile() {
    if (size_ != 0) ::munmap(data_, size_);
  }

  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(data_), size_}; }

  /// Of a copy-on-write mapping; otherwise empty.
  std::span<std::byte> mutable_bytes() { return {static_cast<std::byte*>(data_), writable_ ? size_ : 0}; }

  /// Gives back the memory of whole pages of `part`, which are of the file again when they are read again: what was
  /// copied need not be held twice.
  void forget(std::span<const std::byte> part) const {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    const auto offset = static_cast<std::size_t>(part.data() - static_cast<const std::byte*>(data_));
    const std::size_t begin = (offset + page - 1) / page * page;
    const std::size_t end = (offset + part.size()) / page * page;
    if (begin < end) ::madvise(static_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED);
  }

  /// Gives back, too, the pages at the ends of `part` and those that the system maps along with them. Of a
  /// copy-on-write mapping nothing of that may have been changed: changes would be lost.
  void forget_around(std::span<const std::byte> part) const {
    constexpr std::size_t mapped_together = std::size_t{64} << 10;
    const auto offset = static_cast<std::size_t>(part.data() - static_cast<const std::byte*>(data_));
    const std::size_t begin = offset / mapped_together * mapped_together;
    const std::size_t end = (offset + part.size() + mapped_together - 1) / mapped_together * mapped_together;
    ::madvise(static_cast<std::byte*>(data_) + begin, std::min(end, size_) - begin, MADV_DONTNEED);
  }

 private:
  void* data_ = nullptr;
  std::size_t size_ = 0;
  bool writable_ = false;
};

}  // namespace ulna
