# SPDX-License-Identifier: MIT
"""What comparisons on a device need besides: an order and a clock, since not everything fits the minutes; the device's
memory; and each node's time beside what the device can do."""
import subprocess
import time

# First Ulna's programs. Then what is usually a peer's fastest setting, for every network; then what compiles for minutes,
# for as many as half of the time that is left allows; then the rest.
ULNA, GRAPHS, AUTOTUNED, PLAIN = range(4)
MOST_SECONDS = {ULNA: 90, GRAPHS: 90, AUTOTUNED: 240, PLAIN: 90}  # of one setting
FIRST_GUESS = {ULNA: 5, GRAPHS: 5, AUTOTUNED: 60, PLAIN: 5}


def rank(setting):
    if setting == "ulna":
        return ULNA
    if "max_autotune" in setting:
        return AUTOTUNED
    return GRAPHS if "cuda_graph" in setting else PLAIN


def in_order(comparisons, settings):
    """(comparison, setting) of all; settings(comparison) are the peers'."""
    jobs = [(comparison, setting) for comparison in comparisons for setting in ["ulna", *settings(comparison)]]
    return sorted(jobs, key=lambda job: rank(job[1]))


class Clock:
    """What still fits."""

    def __init__(self, minutes, now=time.monotonic):
        self.minutes, self.now = minutes, now
        self.end = now() + 60 * minutes if minutes else float("inf")
        self.ends = {}  # by rank, when its first begins
        self.taken = {r: [] for r in FIRST_GUESS}

    def left(self, of=None):
        """Seconds, of all or of a rank."""
        return self.ends.get(of, self.end) - self.now()

    def begin(self, setting):
        """Why it is left out; empty: it may run."""
        r = rank(setting)
        if r == AUTOTUNED and r not in self.ends:
            self.ends[r] = self.now() + self.left() / 2
        seconds = self.taken[r]
        expected = sum(seconds) / len(seconds) if seconds else FIRST_GUESS[r]
        self.began = self.now()
        if expected <= self.left(r):
            return ""
        return (f"left out: of {self.minutes:g} minutes {max(self.left(r), 0):.0f} seconds were left for such settings, which "
                f"take about {expected:.0f}")

    def limit(self, setting):
        """Seconds that an answer may take."""
        return min(MOST_SECONDS[rank(setting)], self.left(rank(setting)))

    def done(self, setting):
        self.taken[rank(setting)].append(self.now() - self.began)


class Memory:
    """What a process takes of a device as the driver counts it: context, code, and all that its allocator keeps. Nothing
    else may run there."""

    def __init__(self, used):
        self.used = used  # a function: megabytes of the whole device, None where it cannot be told
        self.idle = used()
        self.context, self.before = 0.0, self.idle

    def begin(self, served_before):
        """Before a job. A process that served others keeps its context and, of those, what it does not give back: that is
        not counted again."""
        now = self.used()
        if now is None or self.idle is None:
            return
        if not served_before:
            self.context = 0.0
        elif not self.context:
            self.context = now - self.idle
        self.before = now

    def taken(self):
        now = self.used()
        if now is None or self.idle is None or now <= self.before - self.context:
            return None  # it cannot be told
        return now - self.before + self.context


def used_megabytes():
    try:
        child = subprocess.run(["nvidia-smi", "--id=0", "--query-gpu=memory.used", "--format=csv,noheader,nounits"],
                               capture_output=True, text=True, timeout=20)
        return float(child.stdout.split()[0])
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError):
        return None


# ---- each node beside the roofline
WIDE = 128  # channels: products that should come near the device's


def rates_of(record, comparison):
    """(floating-point operations, bytes) a second: of PyTorch's products and copies in the same run, or else of Ulna's own
    measurement."""
    profile, rates = comparison["profile"], record.get("rates") or {}
    return (rates.get(comparison["precision"]) or profile["flops"],
            rates.get("bytes_per_second") or profile["bytes_per_second"])


def roofline(node, rates):
    return max(2 * node["macs"] / rates[0], node["bytes"] / rates[1])


def wide_products(profile, rates):
    """Of convolutions of 128 channels and more, forward and backward: how many, their share of the time, the fraction of
    the product rate that they reach together, and the slowest of them."""
    nodes = [n for n in profile["nodes"] if n["channels"] >= WIDE and n["seconds"] > 0]
    if not nodes:
        return None
    fraction = {id(n): 2 * n["macs"] / n["seconds"] / rates[0] for n in nodes}
    slowest = min(nodes, key=lambda n: fraction[id(n)])
    seconds = sum(n["seconds"] for n in nodes)
    return {"nodes": len(nodes), "share": seconds / profile["seconds"],
            "fraction": 2 * sum(n["macs"] for n in nodes) / seconds / rates[0],
            "least": fraction[id(slowest)], "least_path": f"{slowest['path']}, {slowest['op']}"}
