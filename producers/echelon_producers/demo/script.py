"""How the demo's simulated providers behave: like real ones in quick; one instance has a bad day, and a provider is
away for some seconds."""

from typing import Any

#: The instance that fails now and then. Each queue it serves has others, so every job has somewhere to go.
UNRELIABLE = "anthropic-claude-haiku"
#: A provider, and an instance of another one, that are away, from when to when after the script was loaded. Three
#: echelons have no other instance: their jobs fall back.
AWAY_PROVIDER, AWAY_INSTANCE = "openai", "anthropic-claude-sonnet"
AWAY_FROM_S, AWAY_TO_S = 0.5, 4.0


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
            {"kind": "outage", "provider": AWAY_PROVIDER, "from_s": AWAY_FROM_S, "to_s": AWAY_TO_S},
            {"kind": "outage", "instance": AWAY_INSTANCE, "from_s": AWAY_FROM_S, "to_s": AWAY_TO_S},
            {"kind": "429", "instance": UNRELIABLE, "skip": 2, "count": 2, "retry_after_s": 0.5},
            {"kind": "503", "instance": UNRELIABLE, "skip": 3, "count": 2},
            {"kind": "cut", "instance": UNRELIABLE, "skip": 4, "count": 1},
        ],
    }
