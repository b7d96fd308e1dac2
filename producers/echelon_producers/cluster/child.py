"""Runs a module as `python -m MODULE` would, in a process that does not outlive its parent.

python -m echelon_producers.cluster.child MODULE ARGUMENT...
"""

import runpy
import sys

from .lifeline import hold


def main() -> None:
    """Tie this process to its parent, then become the module that is named."""
    hold()
    module, *arguments = sys.argv[1:]
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
