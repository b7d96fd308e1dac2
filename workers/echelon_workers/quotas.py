"""What a provider says of its own limits, in the headers of its answers.

OpenAI and those compatible with it send `x-ratelimit-limit-requests`, `-remaining-requests`, `-reset-requests` and the
same for tokens, with the time until all is free again as '6m0s' or '120ms'
(platform.openai.com/docs/guides/rate-limits). Anthropic sends `anthropic-ratelimit-requests-limit` and so on, those of
a minute (docs.anthropic.com/en/api/rate-limits).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
#: A limit whose window, as far as the headers show it, is not about a minute is one a day, or something else.
_ABOUT_A_MINUTE_S = (30.0, 90.0)
_LARGEST = 2**40


@dataclass(frozen=True, slots=True)
class Stated:
    """Limits a minute, and how many requests are left; None where the provider did not say."""

    requests_per_minute: int | None = None
    requests_left: int | None = None
    tokens_per_minute: int | None = None

    def __str__(self) -> str:
        """As finish takes it: '' when nothing was said."""
        values = (self.requests_per_minute, self.requests_left, self.tokens_per_minute)
        if values == (None, None, None):
            return ""
        return " ".join("-" if value is None else str(value) for value in values)


def stated(headers: Mapping[str, str]) -> Stated:
    """Read the rate limit headers of an answer or an error (lower-case names). What cannot be read was not said."""
    requests, left = _anthropic(headers, "requests") or _openai(headers, "requests")
    tokens, _ = _anthropic(headers, "tokens") or _openai(headers, "tokens")
    return Stated(requests, left if requests is not None else None, tokens)


def _anthropic(headers: Mapping[str, str], unit: str) -> tuple[int | None, int | None] | None:
    limit = _count(headers.get(f"anthropic-ratelimit-{unit}-limit"))
    if limit is None:
        return None
    return limit, _count(headers.get(f"anthropic-ratelimit-{unit}-remaining"))


def _openai(headers: Mapping[str, str], unit: str) -> tuple[int | None, int | None]:
    limit = _count(headers.get(f"x-ratelimit-limit-{unit}"))
    left = _count(headers.get(f"x-ratelimit-remaining-{unit}"))
    reset_s = _seconds(headers.get(f"x-ratelimit-reset-{unit}"))
    if limit is None or left is None or reset_s is None or left >= limit:
        return None, None
    # What is missing comes back within `reset_s`: so the whole limit does within this.
    window_s = reset_s * limit / (limit - left)
    least, most = _ABOUT_A_MINUTE_S
    return (limit, left) if least <= window_s <= most else (None, None)


def _count(text: str | None) -> int | None:
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 15:
        return None
    return number if 0 <= (number := int(text)) <= _LARGEST else None


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    parts = _PART.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return sum(float(number) * _SECONDS[unit] for number, unit in parts)
    try:
        return float(text)
    except ValueError:
        return None
