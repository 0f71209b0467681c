# SPDX-License-Identifier: MIT
"""A record of comparisons as tables."""
import statistics


def ratios(results):
    """Of medians against the fastest peer, and of memory against the leanest; empty where a side is missing."""
    ulna, peers = results.get("ulna"), {s: r for s, r in results.items() if s != "ulna"}
    if not ulna or not peers:
        return {}
    medians = {setting: statistics.median(result["times"]) for setting, result in peers.items()}
    fastest = min(medians, key=medians.get)
    leanest = min(peers, key=lambda setting: peers[setting]["memory_mb"])
    return {"times_faster": medians[fastest] / statistics.median(ulna["times"]), "fastest": fastest,
            "memory_fraction": ulna["memory_mb"] / peers[leanest]["memory_mb"], "leanest": leanest}


def problems(record):
    """Why the figures must not be believed, in words."""
    found = []
    for c in record["comparisons"]:
        if "ulna" in c["failures"]:
            found.append(f"{c['words']}: Ulna {c['failures']['ulna']}")
        tolerance = record["tolerance"][c["precision"]]
        for setting, result in c["results"].items():
            if result["difference"] > tolerance:
                found.append(f"{c['words']}: {setting} differs by {result['difference']:.1e} from PyTorch in float, "
                             f"more than {tolerance:.0e}")
    return found


def row(*cells):
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def table(head, rows):
    return [row(*head), "|" + "---|" * len(head), *rows, ""]


def spread(times):
    return f"{statistics.median(times):.4g} ({min(times):.4g} to {max(times):.4g})"


def summary(record):
    rows = []
    for c in record["comparisons"]:
        if "times_faster" not in c:
            rows.append(row(c["words"], "–", "–", "–", "–", "–"))
            continue
        rows.append(row(c["words"], f"**{c['times_faster']:.2f}**", spread(c["results"]["ulna"]["times"]), c["fastest"],
                        spread(c["results"][c["fastest"]]["times"]), f"{c['memory_fraction']:.2f}"))
    return table(["network", "times faster", "Ulna: ms", "the fastest peer", "its ms", "memory, of the leanest peer's"], rows)


def warning(record):
    """That others were at work, if they were."""
    busiest = max((statistics.median(others) for c in record["comparisons"] for r in c["results"].values()
                   if (others := [n for n in r["others"] if n is not None])), default=0.0)
    if busiest < 0.1:
        return []
    return [f"**Not a quiet machine**: others used up to {busiest:.1f} processors at the median of a side's iterations. Ratios "
            "are distorted: the sides suffer from it unequally.", ""]


def details(record, c):
    on_device = record["device"] is not None
    ulna = c["results"].get("ulna")
    rows = []
    for setting, r in c["results"].items():
        rate = f"{2e-6 * ulna['macs'] / statistics.median(r['times']):.0f}" if ulna else "–"
        counted = r["allocations"] if r["allocations"] >= 0 else "–"
        others = [n for n in r["others"] if n is not None]
        rows.append(row(setting, spread(r["times"]), rate, f"{r['memory_mb']:.0f}", f"{r['start_ms']:.0f}", counted,
                        f"{r['difference']:.1e}", f"{statistics.median(others):.2f}" if others else "–"))
    rows += [row(setting, f"failed: {words}", *[""] * 6) for setting, words in c["failures"].items()]
    memory = "MB on the device" if on_device else "MB, peak RSS"
    return [f"### {c['words']}", "",
            *table(["setting", "ms, median (min to max)", "GFLOP/s", memory, "ms to the first result",
                    "allocations an iteration", "differs by", "processors that others used"], rows)]


def program_table(record):
    def seconds(facts):
        return f"{facts['compile_seconds']:.1f} s, {facts['compile_gb']:.2f} GB" if "compile_seconds" in facts else "–"

    rows = [row(name, f"{facts['stripped_bytes'] / 1e6:.2f} MB" if facts.get("stripped_bytes") else "–", seconds(facts))
            for name, facts in record["programs"].items()]
    return table(["program", "stripped", "compiling it"], rows)


def markdown(record):
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    where = record["device"] or f"{record['processor']}, {record['threads']} threads"
    lines = [f"`{record['command']}`, {record['time']}", "", f"{where}; Ulna {record['ulna']}; {record['compiler']}; "
             f"Python {record['python']}, {versions}", ""]
    lines += summary(record) + warning(record)
    for c in record["comparisons"]:
        lines += details(record, c)
    return "\n".join(lines + program_table(record))
