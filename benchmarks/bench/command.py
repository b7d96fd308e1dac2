"""The command line of a benchmark: `--short`, `--json`, and an orderly end however it ends."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from .arena import Arena
from .results import Results

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is run."""

    short: bool

    def of(self, *, full: T, short: T) -> T:
        """The numbers for this run."""
        return short if self.short else full


def run_benchmark(name: str, about: str | None, run: Callable[[Arena, Results, Scale], None]) -> int:
    """Run it in an arena of its own and print what it found; the exit code."""
    parser = argparse.ArgumentParser(description=(about or "").partition("\n")[0])
    parser.add_argument("--short", action="store_true", help="fewer jobs; ends within two minutes")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    try:
        with Arena() as arena:
            results = Results(name, options.short, arena.server)
            run(arena, results, Scale(options.short))
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except RuntimeError as exc:
        print(f"{name}: {exc}", file=sys.stderr)
        return 1
    return results.show(as_json=options.json)
