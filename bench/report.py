"""The table in Markdown, with the machine it was measured on, and the figures that everynode must not miss."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path

from bench.rows import Result, Row, Size

Results = Mapping[str, Mapping[str, Result | str | None]]
"""Row name -> system -> what it did, or why it could not, or None where it has no such thing."""


def table(rows: list[Row], peers: list[str], results: Results, size: Size) -> str:
    """One line per row, one column per system, and the ratio to the best of the others."""
    head = ["work", *peers, "everynode against the best other"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        cells = [cell(row, results[row.name].get(peer)) for peer in peers]
        lines.append("| " + " | ".join([f"{_title(row, size)}, {row.unit}", *cells, _ratio(row, results)]) + " |")
    return "\n".join(lines)


def cell(row: Row, result: Result | str | None) -> str:
    """What stands in the table for one system in one row."""
    if result is None:
        return "-"
    if isinstance(result, str):
        return "failed"
    if row.unit == "ms p50/p99":
        return f"{result.p50_ms:.1f} / {result.p99_ms:.1f}"
    if row.unit == "s/MB sent":
        return f"{result.seconds:.2f} / {result.sent_bytes / 1e6:.2f}"
    if row.unit == "s":
        return f"{result.seconds:.2f}"
    return f"{result.value:,.0f}"


def missed(results: Results) -> list[str]:
    """The figures that everynode missed, one sentence each. A row that did not run is judged by nobody."""
    found = []
    for row, systems in results.items():
        ours = systems.get("everynode")
        if isinstance(ours, str):
            found.append(f"{row}: everynode failed: {ours}")
        if not isinstance(ours, Result):
            continue
        slower = [name for name in _rivals(row) if _faster(systems.get(name), ours)]
        found += [f"{row}: slower than {name}" for name in slower]
        if row == "change" and ours.p50_ms >= 10:
            found.append(f"change: p50 is {ours.p50_ms:.1f} ms, must be below 10")
        if row == "change" and ours.p99_ms >= 50:
            found.append(f"change: p99 is {ours.p99_ms:.1f} ms, must be below 50")
        if row == "memory" and ours.value >= 500:
            found.append(f"memory: {ours.value:.0f} bytes per file, must be below 500")
        if row == "rename" and ours.sent_bytes >= 1_000_000:
            found.append(f"rename: {ours.sent_bytes / 1e6:.2f} MB sent, must be below 1")
    return found


def machine() -> str:
    """What was measured on, in one line."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    model = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    system = next((line.split("=", 1)[1].strip('"') for line in _lines("/etc/os-release") if "PRETTY" in line), "Linux")
    return (
        f"{os.cpu_count()} x {model}, {memory:.0f} GiB, Linux {platform.release()}, {system},"
        f" Python {platform.python_version()}"
    )


def document(rows: list[Row], peers: list[str], results: Results, size: Size, misses: list[str]) -> str:
    """The whole page."""
    verdict = "All figures are met." if not misses else "Missed:\n\n" + "\n".join(f"- {miss}" for miss in misses)
    problems = [
        f"- {row}, {name}: {result}"
        for row, systems in results.items()
        for name, result in systems.items()
        if isinstance(result, str)
    ]
    failures = "\n\nFailed:\n\n" + "\n".join(problems) if problems else ""
    return f"""# Benchmarks

Measured by `make bench` on {time.strftime("%Y-%m-%d")}: {machine()}.

Two hosts as network namespaces of one machine, trees and state on a tmpfs each, all systems in one run, so quote ratios
and not figures. A first copy is measured from the moment an empty receiver is linked to a sender that has not looked at
its tree, until a comparison from outside finds both equal. A change is measured from `close` on one host until its
content is visible on the other. Sent is everything on the wire, both ways, with headers. rsync, lsyncd, unison and
csync2 run without encryption; syncthing and everynode with TLS. lsyncd and syncthing gather changes for one second
(their shortest); csync2 is told which file changed; rsync and unison are run after each change. No file is changed
twice: unison takes a second change of the same size in the same second for none. `nothing changed` is one run of a tool
that finds that out; for everynode, which has no such run, a restart of both daemons until each has looked at its whole
tree.

{table(rows, peers, results, size)}

{verdict}{failures}
"""


def _title(row: Row, size: Size) -> str:
    amount = {
        "first": f"{size.small_files:,} files",
        "big": f"{size.big_bytes >> 20:,} MiB",
        "change": f"{size.tree_files:,} files",
        "pages": f"{size.edited_bytes >> 20:,} MiB",
        "insert": f"{size.edited_bytes >> 20:,} MiB",
        "rename": f"{size.renamed_files:,} files",
        "quiet": f"{size.quiet_files:,} files",
        "memory": f"{size.quiet_files:,} files",
    }[row.name]
    return f"{row.title} ({amount})"


FLOORS = ("cp -a", "tar over TCP")


def _rivals(row: str) -> tuple[str, ...]:
    """Whom everynode must not be slower than, in which row."""
    return {"first": ("rsync",), "big": ("unison", "syncthing")}.get(row, ())


def _faster(other: Result | str | None, ours: Result) -> bool:
    return isinstance(other, Result) and other.seconds < ours.seconds


def _ratio(row: Row, results: Results) -> str:
    systems = results[row.name]
    ours = systems.get("everynode")
    others = [
        (result.seconds, name)
        for name, result in systems.items()
        if isinstance(result, Result) and name != "everynode" and name not in FLOORS
    ]
    if not isinstance(ours, Result) or not others:
        return "-"
    seconds, name = min(others)
    return f"{seconds / ours.seconds:.2f} x {name}"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
