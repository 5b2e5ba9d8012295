"""Benchmarks: ours and the peers side by side in one run, in turns; medians, spread, ratios, and no assertion."""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).parents[1])

from bench.charts import draw
from bench.heading import heading
from bench.measuring import FULL, PLANS, Group, Plan
from bench.report import BEGIN, Facts, claims, group_lines, markdown, text, write_page
from bench.rows import GROUPS


def main() -> None:
    """Measure all groups, or those asked for, and tell what came out."""
    options = _parser().parse_args()
    groups = options.only
    if options.read:
        facts: Facts = options.read
        print("\n".join(text(facts, groups)))
        _keep(facts, options.json)
    else:
        facts = _measured(PLANS[options.plan], groups, options)
    if options.json:
        print(f"\nthe figures: {options.json}")
    if options.charts:
        print("\n".join(draw(facts, options.charts)))
    if options.markdown:
        print(markdown(facts, groups))
    if options.page:
        write_page(options.page, facts, groups)


def _measured(plan: Plan, groups: Sequence[Group], options: argparse.Namespace) -> Facts:
    facts: dict[str, Any] = {"plan": plan.name, "groups": {}}
    with tempfile.TemporaryDirectory(prefix="procession-bench-", dir=options.folder) as place:
        facts["heading"] = heading(Path(place), plan)
        print("\n".join(facts["heading"]))
        for number, group in enumerate(groups):
            folder = Path(place) / str(number)
            folder.mkdir()
            facts["groups"][group.name] = figures = group.measured(folder, plan)
            _keep(facts, options.json)  # after each group, so that a run that is stopped has told what it measured
            print("\n".join(group_lines(figures, group)), flush=True)
    return facts


def _keep(facts: Facts, path: Path | None) -> None:
    """Write what was measured so far, where it was asked for."""
    if path:
        path.write_text(json.dumps({**facts, "claims": claims(facts, GROUPS)}, indent=1), "utf-8")


def _groups(expression: str) -> list[Group]:
    """Return the groups in whose name an expression is found."""
    try:
        found = [group for group in GROUPS if re.search(expression, group.name)]
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{expression!r} is no regular expression: {error}") from error
    if not found:
        names = "\n".join(group.name for group in GROUPS)
        raise argparse.ArgumentTypeError(f"{expression!r} is in the name of no group; there are\n{names}")
    return found


def _folder(path: str) -> Path:
    """Return a folder that is there."""
    if not Path(path).is_dir():
        raise argparse.ArgumentTypeError(f"{path!r} is no folder; make it first")
    return Path(path)


def _file_to_write(path: str) -> Path:
    """Return the path of a file, its folder made, so that nothing is measured that cannot be kept."""
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).open("a").close()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path!r} cannot be written: {error.strerror}") from error
    return Path(path)


def _page(path: str) -> Path:
    """Return a page that has the marks of the block."""
    if not Path(path).is_file() or BEGIN not in Path(path).read_text("utf-8"):
        raise argparse.ArgumentTypeError(f"{path!r} is no page with the mark {BEGIN}")
    return Path(path)


def _facts(path: str) -> Facts:
    """Return the figures of an earlier run."""
    try:
        facts: Facts = json.loads(Path(path).read_text("utf-8"))
        return {name: facts[name] for name in ("plan", "heading", "groups")}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise argparse.ArgumentTypeError(f"{path!r} holds no figures of a run: {error}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python tests/bench", description=__doc__)
    add = parser.add_argument
    add("--plan", choices=list(PLANS), default=FULL.name, help="how much is measured: the same rows, of other sizes")
    add("--only", type=_groups, default="", help="measure only the groups whose name this expression finds")
    add("--folder", type=_folder, help="where the files go that are measured; on the disk that is meant")
    add("--json", type=_file_to_write, help="write all figures to this file")
    add("--charts", type=Path, help="draw the charts into this folder")
    add("--markdown", action="store_true", help="print the block for the page on benchmarks")
    add("--page", type=_page, help="put that block into a page, between its marks")
    add("--from", dest="read", type=_facts, help="measure nothing; tell of the figures in this file")
    return parser


if __name__ == "__main__":
    main()
