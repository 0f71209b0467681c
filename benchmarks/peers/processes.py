# SPDX-License-Identifier: MIT
"""Processes that give a first result, then run an iteration when asked, and nothing in between."""
import json
import os
import re
import select
import subprocess
import time


class Failure(Exception):
    """A side of a comparison that did not give results; in words."""


def processor_seconds(pid=None):
    """Of a process, or that all processes used together."""
    if pid is None:
        with open("/proc/stat") as file:
            user, nice, system, _, _, irq, softirq, steal = (int(n) for n in file.readline().split()[1:9])
        ticks = user + nice + system + irq + softirq + steal
    else:
        with open(f"/proc/{pid}/stat") as file:
            ticks = sum(int(n) for n in file.read().rpartition(")")[2].split()[11:13])
    return ticks / os.sysconf("SC_CLK_TCK")


def last_error(text):
    """The line of a log that says what a process died of: the last that names an exception, or the last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if re.match(r"[\w.]*(Error|Exception|Failure)\b", line)),
                lines[-1] if lines else "")[:300]


class Process:
    """Speaks the protocol of benchmarks/networks/worker.hpp."""

    def __init__(self, command, environment, log):
        self.log = log
        self.began = time.perf_counter()
        try:
            with open(log, "w") as errors:
                self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                                              text=True, bufsize=1, env={**os.environ, **environment})
        except OSError as error:
            raise Failure(str(error)) from None

    def answer(self, seconds):
        readable, _, _ = select.select([self.child.stdout], [], [], max(seconds, 1))
        if not readable:
            self.kill()
            raise Failure(f"gave no answer for {seconds:.0f} s")
        line = self.child.stdout.readline()
        if not line:
            status = self.child.wait()
            raise Failure(self.last_words() or f"ended with status {status}")
        return line.strip()

    def last_words(self):
        with open(self.log) as file:
            return last_error(file.read())

    def say(self, line):
        try:
            self.child.stdin.write(line + "\n")
        except BrokenPipeError:
            raise Failure(self.last_words() or "ended") from None

    def wait_until_ready(self, seconds, job=None):
        """Milliseconds to the first result: from the start of the process, or of a further job."""
        began, self.began = self.began or time.perf_counter(), None
        if job is not None:
            self.say(job)
        if (words := self.answer(seconds)) != "ready":
            raise Failure(f"said {words!r} in place of its first result")
        return 1e3 * (time.perf_counter() - began)

    def iterate(self, seconds):
        """Milliseconds of one iteration, and how many processors others used meanwhile (None: too short to tell)."""
        busy, own, begin = processor_seconds(), processor_seconds(self.child.pid), time.perf_counter()
        self.say("iterate")
        milliseconds = float(self.answer(seconds))
        busy, own = processor_seconds() - busy, processor_seconds(self.child.pid) - own
        seconds = time.perf_counter() - begin
        return milliseconds, max(0.0, busy - own) / seconds if seconds > 0.1 else None

    def ask(self, line, seconds):
        """The answer, of JSON, to a line that is no iteration."""
        self.say(line)
        answer = self.answer(seconds)
        try:
            return json.loads(answer)
        except ValueError:
            raise Failure(f"said {answer[:100]!r} in place of JSON") from None

    def facts(self, job_ends):
        """What the process says about itself; it goes on only if it serves further jobs."""
        if job_ends:
            self.say("end")
        else:
            self.child.stdin.close()
        facts = json.loads(self.answer(60))
        if not job_ends:
            self.child.wait()
        return facts

    def kill(self):
        self.child.kill()
        self.child.wait()
