"""The `Prefer` header of RFC 7240: how long a caller would wait."""

from collections.abc import Iterable
from urllib.request import parse_http_list

MOST_WAIT_S = 300


def wait_s(headers: Iterable[str]) -> int | None:
    """The seconds of the preference `wait`, at most 300; None when there is none, or none that can be read.

    As RFC 7240 says: of a preference that is given twice the first counts, and what is not understood is ignored.
    """
    for preference in parse_http_list(", ".join(headers)):
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "wait":
            return _seconds(value.strip().strip('"'))
    return None


def _seconds(text: str) -> int | None:
    if not (text.isascii() and text.isdigit()):
        return None
    return int(text) if len(text) < 5 and int(text) < MOST_WAIT_S else MOST_WAIT_S
