"""The garbage collector leaves a worker's loop alone."""

import subprocess
import sys


def test_what_is_loaded_is_frozen_once_and_the_collector_comes_less_often() -> None:
    """In a process of its own: it holds for the whole of one."""
    program = (
        "import gc; from echelon_workers.loop import COLLECT_AFTER, collect_less; "
        "collect_less(); frozen = gc.get_freeze_count(); kept = [[] for _ in range(100)]; collect_less(); "
        "print(frozen > 1000, gc.get_freeze_count() == frozen, gc.get_threshold() == COLLECT_AFTER)"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["True", "True", "True"]
