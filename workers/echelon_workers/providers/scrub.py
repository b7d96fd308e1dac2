"""Text of a provider's error made safe to keep: no key in it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from echelon_workers.errors import shorten

HIDDEN = "[hidden]"

# What looks like a key although it is none of ours: providers echo them, sometimes in part.
_LOOKS_SECRET = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|key|hf|r8|nvapi|AIza|ya29|ghp|glpat)[-_.]?[A-Za-z0-9*][A-Za-z0-9_\-*.]{10,}"
    r"|(?i:bearer|basic)\s+[A-Za-z0-9_\-.=+/*]{8,}"
    r"|\beyJ[A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-.]+"
)


def scrub(text: str, secrets: Iterable[str] = ()) -> str:
    """The text on one short line, with every one of the secrets and everything that looks like a key hidden."""
    for secret in secrets:
        if len(secret) >= 4:
            text = text.replace(secret, HIDDEN)
    return _LOOKS_SECRET.sub(HIDDEN, shorten(text))
