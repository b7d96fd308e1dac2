"""How the demo's simulated providers behave: like real ones in quick, and one of them has a bad day."""

from typing import Any

#: The instance that fails now and then. Each queue it serves has others, so every job has somewhere to go.
UNRELIABLE = "anthropic-claude-haiku"


def script() -> dict[str, Any]:
    """The simulator's script (docs/simulator.md)."""
    return {
        "seed": 300,
        "models": {
            "*": {
                "latency_s": {"p50": 0.45, "p99": 1.8},
                "answer": {"tokens": {"p50": 90, "p99": 600}},
            }
        },
        "faults": [
            {"kind": "429", "instance": UNRELIABLE, "skip": 2, "count": 2, "retry_after_s": 0.5},
            {"kind": "503", "instance": UNRELIABLE, "skip": 3, "count": 2},
            {"kind": "cut", "instance": UNRELIABLE, "skip": 4, "count": 1},
        ],
    }
