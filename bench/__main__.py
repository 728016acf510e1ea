"""python -m bench [ROW ...] [--quick] [--list] [--write-docs]: see docs/performance.md."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import results, rows
from .probes import Probes
from .worker import SideError


@dataclass
class Context:
    """What a row needs. quick: smaller sizes. rounds: repetitions of each side."""

    scratch: Path
    quick: bool = False
    rounds: int = 5
    probes: Probes = field(default_factory=Probes)

    def folder(self, shape: str) -> Path:
        """The weights of one of `models.SHAPES`, made once a run."""
        from .models import make_folder

        folder = self.scratch / shape
        return folder if (folder / "tokenizer_config.json").exists() else make_folder(shape, folder)


Measure = Callable[[Context], list[results.Result]]


def registry(full: bool = True) -> dict[str, Measure]:
    """Every row by name: the functions that the files of bench/rows name in their ROWS; without those in LONG unless
    `full`."""
    found: dict[str, Measure] = {}
    for entry in pkgutil.iter_modules(rows.__path__):
        module = importlib.import_module(f"{rows.__name__}.{entry.name}")
        left_out = () if full else getattr(module, "LONG", ())
        found |= {name: row for name, row in module.ROWS.items() if name not in left_out}
    return found


def run(names: Sequence[str], known: dict[str, Measure], context: Context, folder: Path) -> int:
    """Measure, store and print rows. Returns 1 where a figure falls short, else 0."""
    measured = []
    about = {**results.machine(), "rounds": context.rounds}
    for name in names:
        print(f"bench: {name}", file=sys.stderr, flush=True)
        context.probes.forget()
        try:
            found = known[name](context)
        except SideError as error:
            found = [results.Result(name, 0, name, None, 0.0, note=str(error).strip().splitlines()[-1])]
            print(f"bench: {error}", file=sys.stderr)
        kind = "quick" if context.quick else "row"
        results.write_json(folder / f"{kind}-{name}.json", found, about, context.quick)
        measured += found
    results.print_table(measured)
    return int(not all(result.holds for result in measured))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Ours against other libraries.")
    parser.add_argument(
        "rows", nargs="*", metavar="ROW", help="rows to run; all but the longest when none is named"
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller sizes; claims nothing")
    parser.add_argument("--rounds", type=int, help="repetitions of each side (5; quick: 3)")
    parser.add_argument("--full", action="store_true", help="also the rows that take very long")
    parser.add_argument("--list", action="store_true", help="names of the rows")
    parser.add_argument(
        "--write-docs", action="store_true", help="table and chart from stored results; runs nothing"
    )
    parser.add_argument("--output", type=Path, default=results.RESULTS, help="folder of the JSON files")
    parser.add_argument("--scratch", type=Path, help="folder for weights, kept; default: a temporary one")
    options = parser.parse_args(arguments)
    if options.write_docs:
        results.write_docs(folder=options.output, rows=registry())
        results.draw_chart(results.ROOT / "docs" / "images" / "performance.png", options.output)
        return 0
    known = registry()
    if options.list:
        print("\n".join(sorted(known)))
        return 0
    unknown = [name for name in options.rows if name not in known]
    if unknown:
        parser.error(f"unknown row {unknown[0]!r}; there are: {', '.join(sorted(known))}")
    with tempfile.TemporaryDirectory(prefix="ptagrpo-bench-") as temporary:
        rounds = options.rounds or (3 if options.quick else 5)
        context = Context(options.scratch or Path(temporary), options.quick, rounds)
        return run(options.rows or sorted(registry(options.full)), known, context, options.output)


if __name__ == "__main__":
    sys.exit(main())
