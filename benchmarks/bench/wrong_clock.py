"""Celery's command line in a process whose clock is wrong: an hour ahead, and gaining a second in a hundred.

    python -m bench.wrong_clock -A echelon_workers.app worker ...

What the process takes for the time of day is replaced before anything else is loaded; the monotonic clock, which no
setting of the clock touches, is left alone.
"""

import sys
import time

AHEAD_S, GAIN = 3600.0, 0.01


def _set_wrong() -> None:
    true_ns, began_ns = time.time_ns, time.time_ns()

    def time_ns() -> int:
        now = true_ns()
        return now + int(AHEAD_S * 1e9 + (now - began_ns) * GAIN)

    def time_s() -> float:
        return time_ns() / 1e9

    time.time_ns, time.time = time_ns, time_s


if __name__ == "__main__":
    _set_wrong()
    from celery.__main__ import main

    sys.argv[0] = "celery"
    main()
