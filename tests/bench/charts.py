"""The charts of a run: throughput by batch size, and the cost of a slot by its number, as SVG."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bench.batches import BATCHES, OURS, PEER, SIZES
from bench.long import COLUMNS, LONG
from bench.measuring import why_no
from bench.peers import DISK

INK = {"ours": "#0b6e99", "peer": "#c2571a", "disk": "#6b6b6b"}
SETTINGS = {
    "svg.fonttype": "none",  # text stays text: small files
    "svg.hashsalt": "procession",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e3e3",
    "axes.axisbelow": True,
    "figure.constrained_layout.use": True,
}

Figures = Mapping[str, Sequence[float]]


def draw(facts: Mapping[str, Any], folder: Path) -> Iterator[str]:
    """Draw what a run measured into a folder, and yield what was drawn."""
    missing = why_no("matplotlib")()
    charts = {"throughput": (BATCHES.name, _throughput), "slots": (LONG.name, _slots)}
    for name, (group, paint) in charts.items():
        figures = facts["groups"].get(group)
        if missing or not figures:
            yield f"no chart of {group}: {missing or 'it was not measured'}"
            continue
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{name}.svg"
        _saved(file, paint, figures, facts["heading"][0])
        yield f"the chart of {group}: {file}"


def _saved(file: Path, paint: Any, figures: Figures, machine: str) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    with mpl.rc_context(SETTINGS):
        drawn = paint(figures)
        drawn.text(0.99, -0.01, machine, ha="right", va="top", fontsize=7, color=INK["disk"])
        drawn.savefig(file, metadata={"Date": None}, bbox_inches="tight")


def _throughput(figures: Figures) -> Any:
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(7, 4.2))
    axes = drawn.subplots()
    for subjects, colour, label in ((OURS, INK["ours"], "ours"), (PEER, INK["peer"], "eventsourcing")):
        measured = {size: figures[subjects[size].name] for size in SIZES if figures.get(subjects[size].name)}
        if measured:
            middles = [median(values) for values in measured.values()]
            axes.fill_between(list(measured), *_edges(measured.values()), color=colour, alpha=0.15, linewidth=0)
            axes.plot(list(measured), middles, "o-", color=colour, markersize=4, label=label)
            axes.annotate(label, (SIZES[-1], middles[-1]), (6, -3), textcoords="offset points", color=colour)
    disk = median(figures[DISK.name])
    axes.axhline(disk, color=INK["disk"], linestyle="--", linewidth=1)
    told = f"fdatasync of the disk, {disk:,.0f}/s"
    axes.annotate(told, (SIZES[-1], disk), (0, -12), textcoords="offset points", ha="right", color=INK["disk"])
    axes.set(xscale="log", yscale="log", xlabel="messages a commit", ylabel="durable messages a second")
    axes.set_xticks(SIZES)
    _plain(axes)
    axes.set_title("Throughput by batch size: scheduled, computed, stored", loc="left", fontsize=11)
    return drawn


def _plain(axes: Any) -> None:
    """Label both scales with whole numbers, and nothing between."""
    axes.minorticks_off()
    for scale in (axes.xaxis, axes.yaxis):
        scale.set_major_formatter(lambda value, place: f"{value:,.0f}")


def _edges(columns: Any) -> tuple[list[float], list[float]]:
    rows = list(columns)
    return [min(values) for values in rows], [max(values) for values in rows]


def _slots(figures: Figures) -> Any:
    from matplotlib.figure import Figure

    slots, seconds, written, memory = (figures[name] for name in COLUMNS)
    panels = (
        ("microseconds a slot", _steps(slots, seconds, 1e6), slots[1:]),
        ("bytes written a slot", _steps(slots, written, 1), slots[1:]),
        ("memory held, MB", [held / 1e6 for held in memory[1:]], slots[1:]),
    )
    drawn = Figure(figsize=(7, 6.4))
    for axes, (label, values, places) in zip(drawn.subplots(3, sharex=True), panels, strict=True):
        axes.plot(places, values, "o-", color=INK["ours"], markersize=3)
        axes.set(ylabel=label, xscale="log", ylim=(0, max(values) * 1.25))
        _plain(axes)
    axes.set_xlabel("slot")
    drawn.suptitle("Cost of a slot by its number, one process, 256 messages at once", x=0.01, ha="left", fontsize=11)
    return drawn


def _steps(slots: Sequence[float], used: Sequence[float], unit: float) -> list[float]:
    """Return what a slot used between each two points."""
    pairs = zip(slots, slots[1:], used, used[1:], strict=False)
    return [(after - before) * unit / (last - first) for first, last, before, after in pairs]
