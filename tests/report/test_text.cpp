// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>

#include <algorithm>
#include <sstream>
#include <string>

#include "ulna/report/progress.hpp"
#include "ulna/report/table.hpp"

using namespace ulna::report;

TEST_CASE("a table is aligned, by characters") {
  Table table({"method", "IoU"});
  table.add_row({"U-Net", "0.91"});
  table.add_row({"Otsu ≥", "0.7"});
  CHECK(table.text() ==
        "method   IoU\n"
        "──────  ────\n"
        "U-Net   0.91\n"
        "Otsu ≥   0.7\n");
  CHECK(table.markdown() ==
        "| method |  IoU |\n"
        "| :----- | ---: |\n"
        "| U-Net  | 0.91 |\n"
        "| Otsu ≥ |  0.7 |\n");
  CHECK_THROWS_AS(table.add_row({"one"}), ulna::ArgumentError);
  CHECK_THROWS_AS(Table({}), ulna::ArgumentError);
}

TEST_CASE("numbers and durations") {
  CHECK(fixed(0.07268, 4) == "0.0727");
  CHECK(fixed(12, 1) == "12.0");
  CHECK(duration_text(0.4) == "0 s");
  CHECK(duration_text(59.6) == "1 min 00 s");
  CHECK(duration_text(185) == "3 min 05 s");
  CHECK(duration_text(7640) == "2 h 07 min");
}

TEST_CASE("elsewhere than on a terminal progress is a few plain lines") {
  std::ostringstream out;
  double now = 100;
  Progress progress(out, 1000, {.label = "training", .plain_lines = 4, .clock = [&] { return now; }});
  for (int step = 1; step <= 1000; ++step) {
    now += 0.5;
    progress.update(step, 0.25);
  }
  progress.finish();
  CHECK(out.str() ==
        "training   250/1000  loss 0.2500  2.00 steps/s  6 min 15 s left\n"
        "training   500/1000  loss 0.2500  2.00 steps/s  4 min 10 s left\n"
        "training   750/1000  loss 0.2500  2.00 steps/s  2 min 05 s left\n"
        "training  1000/1000  loss 0.2500  2.00 steps/s  8 min 20 s in all\n");
}

TEST_CASE("on a terminal the bar redraws itself, not too often") {
  std::ostringstream out;
  double now = 0;
  Progress progress(out, 100, {.label = "x", .terminal = true, .redraw_seconds = 1, .clock = [&] { return now; }});
  for (int step = 1; step <= 99; ++step) {
    now += 0.1;
    progress.update(step, 1);
  }
  const std::string text = out.str();
  const auto drawings = std::count(text.begin(), text.end(), '\r');
  CHECK(drawings >= 9);
  CHECK(drawings <= 11);
  CHECK(text.find('\n') == std::string::npos);
  now += 0.1;
  progress.update(100, 1);
  CHECK(out.str().ends_with("10 s in all\x1b[K\n"));
  progress.finish();
  CHECK(out.str().ends_with("K\n"));
}

TEST_CASE("a run that stops early closes its line; a resumed one counts its speed from where it went on") {
  std::ostringstream out;
  double now = 0;
  Progress progress(out, 100, {.label = "x", .first_step = 50, .terminal = true, .clock = [&] { return now += 1; }});
  progress.update(60, 1);
  progress.finish();
  CHECK(out.str().ends_with("60/100  loss 1.0000  10.0 steps/s  4 s left\x1b[K\n"));
  CHECK_THROWS_AS(Progress(out, 0), ulna::ArgumentError);
  CHECK_FALSE(is_terminal(out));
}
