# SPDX-License-Identifier: MIT
"""A record of comparisons as tables."""
import statistics

import on_device


def ratios(results):
    """Of medians against the fastest peer, and of memory against the leanest; empty where a side is missing."""
    ulna, peers = results.get("ulna"), {s: r for s, r in results.items() if s != "ulna"}
    if not ulna or not peers:
        return {}
    medians = {setting: statistics.median(result["times"]) for setting, result in peers.items()}
    fastest = min(medians, key=medians.get)
    leanest = min(peers, key=lambda setting: peers[setting]["memory_mb"])
    found = {"times_faster": medians[fastest] / statistics.median(ulna["times"]), "fastest": fastest,
             "memory_fraction": ulna["memory_mb"] / peers[leanest]["memory_mb"], "leanest": leanest}
    whole = [peer["process_mb"] for peer in peers.values() if peer.get("process_mb")]
    if whole and ulna.get("process_mb"):
        found["process_fraction"] = ulna["process_mb"] / min(whole)
    return found


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
    on_one = record["device"] is not None
    head = ["network", "times faster", "Ulna: ms", "the fastest peer", "its ms", "memory, of the leanest peer's"]
    head += ["with its context", "wide convolutions, of the product rate"] if on_one else []
    rows = []
    for c in record["comparisons"]:
        cells = ["–"] * 5
        if "times_faster" in c:
            cells = [f"**{c['times_faster']:.2f}**", spread(c["results"]["ulna"]["times"]), c["fastest"],
                     spread(c["results"][c["fastest"]]["times"]), f"{c['memory_fraction']:.2f}"]
        if on_one:
            wide = c["profile"] and on_device.wide_products(c["profile"], on_device.rates_of(record, c))
            cells += [f"{c['process_fraction']:.2f}" if "process_fraction" in c else "–",
                      f"{percent(wide['fraction'])} ({percent(wide['least'])} at least)" if wide else "–"]
        rows.append(row(c["words"], *cells))
    return table(head, rows)


def percent(fraction):
    return f"{100 * fraction:.0f} %"


def warning(record):
    """That others were at work, if they were."""
    busiest = max((statistics.median(others) for c in record["comparisons"] for r in c["results"].values()
                   if (others := [n for n in r["others"] if n is not None])), default=0.0)
    if busiest < 0.1:
        return []
    return [f"**Not a quiet machine**: others used up to {busiest:.1f} processors at the median of a side's iterations. Ratios "
            "are distorted: the sides suffer from it unequally.", ""]


def details(record, c):
    on_one = record["device"] is not None
    ulna = c["results"].get("ulna")
    rows = []
    for setting, r in c["results"].items():
        rate = f"{2e-6 * ulna['macs'] / statistics.median(r['times']):.0f}" if ulna else "–"
        counted = r["allocations"] if r["allocations"] >= 0 else "–"
        others = [n for n in r["others"] if n is not None]
        memory = [f"{r['memory_mb']:.0f}"]
        if on_one:
            memory.append(f"{r['process_mb']:.0f}" if r.get("process_mb") is not None else "–")
        rows.append(row(setting, spread(r["times"]), rate, *memory, f"{r['start_ms']:.0f}", counted,
                        f"{r['difference']:.1e}", f"{statistics.median(others):.2f}" if others else "–"))
    memory = ["MB on the device", "MB with context"] if on_one else ["MB, peak RSS"]
    rows += [row(setting, words if words.startswith("left out") else f"failed: {words}", *[""] * (5 + len(memory)))
             for setting, words in c["failures"].items()]
    return [f"### {c['words']}", "",
            *table(["setting", "ms, median (min to max)", "GFLOP/s", *memory, "ms to the first result",
                    "allocations an iteration", "differs by", "processors that others used"], rows),
            *(nodes(record, c) if on_one and c["profile"] else [])]


def nodes(record, c, most=24):
    """Where Ulna's time goes: those nodes that take longest, the others together."""
    profile, rates = c["profile"], on_device.rates_of(record, c)
    order = sorted(profile["nodes"], key=lambda n: -n["seconds"])
    shown, rest = order[:most], order[most:]

    def cells(nodes):
        seconds, least = (sum(n["seconds"] for n in nodes), sum(on_device.roofline(n, rates) for n in nodes))
        macs = sum(n["macs"] for n in nodes)
        product = all(n["channels"] >= on_device.WIDE for n in nodes) and seconds > 0
        return [f"{macs / 1e9:.2f}" if macs else "", f"{sum(n['bytes'] for n in nodes) / 1e6:.1f}", f"{1e6 * seconds:.1f}",
                percent(seconds / profile["seconds"]), percent(least / seconds) if seconds > 0 else "–",
                percent(2 * macs / seconds / rates[0]) if product else ""]

    rows = [row(n["path"], n["op"], n["shape"], *cells([n])) for n in shown]
    if rest:
        rows.append(row(f"{len(rest)} others", "", "", *cells(rest)))
    rows.append(row("all", "", "", *cells(order)))
    lines = [f"Ulna's nodes one after the other take {1e3 * profile['seconds']:.3f} ms (copies from and to the host not "
             f"counted); roofline: {rates[0] * 1e-12:.0f} TFLOP/s, {rates[1] * 1e-9:.0f} GB/s."]
    if wide := on_device.wide_products(profile, rates):
        lines[0] += (f" {wide['nodes']} convolutions of {on_device.WIDE} channels and more take {percent(wide['share'])} of the "
                     f"time at {percent(wide['fraction'])} of the product rate; the slowest, {wide['least_path']}, reaches "
                     f"{percent(wide['least'])}.")
    return [*lines, "", *table(["node", "op", "shape", "GMACs", "MB", "µs", "of the time", "of the roofline",
                                "of the product rate"], rows)]


def program_table(record):
    def seconds(facts):
        if "failed" in facts:
            return facts["failed"]
        return f"{facts['compile_seconds']:.1f} s, {facts['compile_gb']:.2f} GB" if "compile_seconds" in facts else "–"

    rows = [row(name, f"{facts['stripped_bytes'] / 1e6:.2f} MB" if facts.get("stripped_bytes") else "–", seconds(facts))
            for name, facts in record["programs"].items()]
    return table(["program", "stripped", "compiling it"], rows)


def markdown(record):
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    where = record["device"] or f"{record['processor']}, {record['threads']} threads"
    lines = [f"`{record['command']}`, {record['time']}", "", f"{where}; Ulna {record['ulna']}; {record['compiler']}; "
             f"Python {record['python']}, {versions}", ""]
    if rates := record.get("rates"):
        lines += ["PyTorch's products of 8192 x 8192 matrices reach " +
                  ", ".join(f"{rates[p] * 1e-12:.0f} TFLOP/s in {p}" for p in ("bf16", "tf32", "fp32")) +
                  f"; its copies {rates['bytes_per_second'] * 1e-9:.0f} GB/s, read and written.", ""]
    if seconds := record.get("seconds"):
        lines += ["Seconds of the run: " + ", ".join(f"{what} {taken:.0f}" for what, taken in seconds.items()) + ".", ""]
    lines += summary(record) + warning(record)
    for c in record["comparisons"]:
        lines += details(record, c)
    return "\n".join(lines + program_table(record))
