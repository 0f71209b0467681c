// SPDX-License-Identifier: MIT
// Progress of a long run: a bar that redraws itself on a terminal, a plain line now and then elsewhere.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>
#include <iostream>
#include <ostream>
#include <string>
#include <utility>

#include "ulna/error.hpp"
#include "ulna/report/table.hpp"

namespace ulna::report {

/// Whether a stream is the standard output or error stream of this process and that is a terminal.
inline bool is_terminal(const std::ostream& out) {
  if (&out == &std::cout) return ::isatty(STDOUT_FILENO) == 1;
  if (&out == &std::cerr || &out == &std::clog) return ::isatty(STDERR_FILENO) == 1;
  return false;
}

/// "45 s", "3 min 05 s", "2 h 07 min".
inline std::string duration_text(double seconds) {
  const auto whole = static_cast<long>(std::lround(std::clamp(seconds, 0.0, 1e9)));
  const auto two = [](long value) { return (value < 10 ? "0" : "") + std::to_string(value); };
  if (whole < 60) return std::to_string(whole) + " s";
  if (whole < 3600) return std::to_string(whole / 60) + " min " + two(whole % 60) + " s";
  return std::to_string(whole / 3600) + " h " + two(whole / 60 % 60) + " min";
}

/// How progress is shown.
struct ProgressOptions {
  std::string label = "training";
  int first_step = 0;                  ///< where a resumed run went on; speed counts from here
  bool terminal = false;               ///< a bar that redraws itself; see is_terminal()
  int plain_lines = 10;                ///< elsewhere, about so many lines in all
  double redraw_seconds = 0.1;         ///< at least between two drawings of the bar
  std::function<double()> clock = {};  ///< seconds; the steady clock when empty
};

/// Shows step, loss, speed and time left of a run of `steps` steps on a stream:
///   training  ━━━━━━━━━━────────  600/1200  loss 0.2134  12.3 steps/s  49 s left
class Progress {
 public:
  /// The stream must outlive this. Throws ArgumentError unless steps is positive.
  Progress(std::ostream& out, int steps, ProgressOptions options)
      : out_(out), steps_(steps), options_(std::move(options)) {
    if (steps < 1 || options_.plain_lines < 1) {
      throw ArgumentError("progress: " + std::to_string(steps) + " steps and " + std::to_string(options_.plain_lines) +
                          " lines; both must be at least 1");
    }
    if (!options_.clock) {
      options_.clock = [] {
        return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
      };
    }
    start_ = options_.clock();
    line_ = line_of(options_.first_step);
  }
  Progress(std::ostream& out, int steps) : Progress(out, steps, {.terminal = is_terminal(out)}) {}

  /// Tells that `step` of the steps are done, the last of them with this loss. The end always shows.
  void update(int step, double loss) {
    // Losses of single batches jump; a short moving average can be read.
    loss_ = shown_steps_ == 0 ? loss : 0.9 * loss_ + 0.1 * loss;
    ++shown_steps_;
    const double now = options_.clock();
    const bool last = step >= steps_;
    if (options_.terminal) {
      if (!last && shown_steps_ > 1 && now - drawn_ < options_.redraw_seconds) return;
      drawn_ = now;
      out_ << "\r" << options_.label << "  " << bar(step) << "  " << numbers(step, now) << "\x1b[K";
      open_ = true;
      if (last) finish();
      out_.flush();
    } else if (last || line_of(step) > line_) {
      line_ = line_of(step);
      out_ << options_.label << "  " << numbers(step, now) << "\n" << std::flush;
    }
  }

  /// Ends the line of the bar, so that other text can follow; for runs that stop early.
  void finish() {
    if (std::exchange(open_, false)) out_ << "\n" << std::flush;
  }

 private:
  /// How many plain lines are due by that step.
  std::int64_t line_of(int step) const { return std::int64_t{step} * options_.plain_lines / steps_; }

  std::string bar(int step) const {
    constexpr int width = 28;
    const int done = static_cast<int>(std::int64_t{std::clamp(step, 0, steps_)} * width / steps_);
    std::string text = "\x1b[36m";
    for (int i = 0; i < done; ++i) text += "━";
    text += "\x1b[90m";
    for (int i = done; i < width; ++i) text += "─";
    return text + "\x1b[0m";
  }

  std::string numbers(int step, double now) const {
    const std::string total = std::to_string(steps_), at = std::to_string(step);
    std::string text = std::string(total.size() - std::min(at.size(), total.size()), ' ') + at + "/" + total;
    text += "  loss " + fixed(loss_, 4);
    const double elapsed = now - start_;
    const int done = step - options_.first_step;
    if (done < 1 || elapsed <= 0) return text;
    const double speed = done / elapsed;
    text += "  " + fixed(speed, speed < 10 ? 2 : 1) + " steps/s";
    return text + (step < steps_ ? "  " + duration_text((steps_ - step) / speed) + " left"
                                 : "  " + duration_text(elapsed) + " in all");
  }

  std::ostream& out_;
  int steps_;
  ProgressOptions options_;
  double start_ = 0, drawn_ = 0, loss_ = 0;
  std::int64_t shown_steps_ = 0, line_ = 0;
  bool open_ = false;
};

}  // namespace ulna::report
