"""Benchmarks: ours and the peers side by side in one run, in turns; medians, spread, ratios, and no assertion."""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).parents[1])

from bench.charts import draw
from bench.heading import heading
from bench.measuring import FULL, PLANS, Plan
from bench.report import Facts, claims, group_lines, markdown, text, write_page
from bench.rows import GROUPS


def main() -> None:
    """Measure all groups, or those asked for, and tell what came out."""
    options = _parser().parse_args()
    groups = [group for group in GROUPS if re.search(options.only, group.name)]
    if options.read:
        facts: Facts = json.loads(options.read.read_text("utf-8"))
        print("\n".join(text(facts, groups)))
    else:
        facts = _measured(PLANS[options.plan], options)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({**facts, "claims": claims(facts, GROUPS)}, indent=1), "utf-8")
        print(f"\nthe figures: {options.json}")
    if options.charts:
        print("\n".join(draw(facts, options.charts)))
    if options.markdown:
        print(markdown(facts, groups))
    if options.page:
        write_page(options.page, facts, groups)


def _measured(plan: Plan, options: argparse.Namespace) -> Facts:
    facts: dict[str, Any] = {"plan": plan.name, "groups": {}}
    with tempfile.TemporaryDirectory(prefix="procession-bench-", dir=options.folder) as place:
        facts["heading"] = heading(Path(place), plan)
        print("\n".join(facts["heading"]))
        for number, group in enumerate(GROUPS):
            if re.search(options.only, group.name):
                folder = Path(place) / str(number)
                folder.mkdir()
                facts["groups"][group.name] = figures = group.measured(folder, plan)
                print("\n".join(group_lines(figures, group)), flush=True)
    return facts


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python tests/bench", description=__doc__)
    add = parser.add_argument
    add("--plan", choices=list(PLANS), default=FULL.name, help="how much is measured: the same rows, of other sizes")
    add("--only", default="", help="measure only the groups whose name this expression finds")
    add("--folder", type=Path, help="where the files go that are measured; on the disk that is meant")
    add("--json", type=Path, help="write all figures to this file")
    add("--charts", type=Path, help="draw the charts into this folder")
    add("--markdown", action="store_true", help="print the block for the page on benchmarks")
    add("--page", type=Path, help="put that block into a page, between its marks")
    add("--from", dest="read", type=Path, help="measure nothing; tell of the figures in this file")
    return parser


if __name__ == "__main__":
    main()
