"""The command line `echelon`; docs/cli.md describes it."""

import sys


def main() -> None:
    """The console script."""
    try:
        from .program import program
    except ModuleNotFoundError as missing:
        if missing.name not in ("click", "rich"):
            raise
        print("echelon: the command line needs: pip install 'echelon-cluster[cli]'", file=sys.stderr)
        sys.exit(2)
    program(prog_name="echelon")
