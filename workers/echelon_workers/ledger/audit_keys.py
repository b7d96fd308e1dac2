"""Which type each key of the cluster has, and how long those last that have to expire."""

from collections.abc import Iterable, Iterator

from .audit_report import Finding
from .keys import Keys

#: As `keys.py` describes them; a test holds the two together.
TYPES = {
    **dict.fromkeys(("running", "delayed", "dead", "deadlines", "adopting", "checks", "probing", "workers"), "zset"),
    **dict.fromkeys(("tokens", "parked", "parks", "served", "out"), "zset"),
    **dict.fromkeys(("job", "counts", "totals", "cursor", "recent", "scores", "probes", "taker", "revision"), "hash"),
    **dict.fromkeys(("scope", "blocked", "pace", "moves"), "hash"),
    **dict.fromkeys(("idle", "scopes", "plans", "waiting", "short", "paused", "draining", "dropped"), "set"),
    **dict.fromkeys(
        ("revoked", "scorer", "worker", "plan", "clock", "ahead", "calm", "server", "lease", "epoch"), "string"
    ),
    **dict.fromkeys(("log", "history"), "list"),
}
#: Without these of the right type nothing can be audited.
NEEDED = (
    *("running", "delayed", "dead", "deadlines", "parks", "probing", "counts", "probes"),
    *("plans", "dropped", "paused", "draining", "clock", "ahead"),
)
#: They expire by themselves; one that does not is given so many ms.
EXPIRING_MS = {"worker": 60_000, "scorer": 60_000, "taker": 86_400_000, "revoked": 86_400_000}

#: What stands before the names of keys that scripts found to be something else, and set aside (`lua/parts/guard.lua`).
_ASIDE = "damaged:"


def name_of(keys: Keys, key: str) -> tuple[str, str] | None:
    """What a key is called in `keys.py`, and its suffix."""
    for name in TYPES:
        known = keys.of(name)
        if key == known or (known.endswith(":") and key.startswith(known)):
            return name, key.removeprefix(known)
    return None


def audit_types(keys: Keys, found: Iterable[tuple[str, str]]) -> Iterator[Finding]:
    """Keys below the own prefix with their types, as Redis says: those that are not what they should be."""
    for key, kind in found:
        named = name_of(keys, key)
        if kind == "none":
            continue  # it was gone when it was looked at
        if key.startswith(f"{keys.own}{_ASIDE}"):
            yield Finding("set-aside", key, kind, False)
        elif named is None:
            yield Finding("key-unknown", key, kind, False)
        elif TYPES[named[0]] != kind:
            yield Finding("key-wrong-type", key, f"{kind}, not {TYPES[named[0]]}", False)
