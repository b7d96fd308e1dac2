"""What a YAML scalar means: text, a number, yes or no, or nothing."""

import math
import re

Scalar = str | int | float | bool | None

_NOTHING = frozenset({"", "~", "null", "Null", "NULL"})
_YES = frozenset({"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"})
_NO = frozenset({"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"})
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9][0-9_]*(?=[eE]))(?:[eE][-+]?[0-9]+)?", re.ASCII)
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")

_TAGS = "tag:yaml.org,2002:"
_LONGEST_NUMBER = 40


class ScalarError(ValueError):
    """A scalar that means nothing usable; `advice` says what to write."""

    def __init__(self, message: str, advice: str) -> None:
        self.advice = advice
        super().__init__(message)


def scalar(text: str, *, plain: bool, tag: str | None = None) -> Scalar:
    """The value of a scalar: YAML 1.1's words for yes and no, decimal numbers, and text.

    Dates, base 60 (`1:30`) and octal (`010`) stay text: no key here wants them, and they surprise.
    Raises ScalarError for infinity, not-a-number, an endless number or a foreign tag.
    """
    if tag is not None and tag != "!":
        return _tagged(text, tag)
    return _plain(text) if plain and tag is None else text


def _plain(text: str) -> Scalar:
    if text in _NOTHING:
        return None
    if text in _YES or text in _NO:
        return text in _YES
    if text[0] in "+-.0123456789":
        return _number(text)
    return text


def _number(text: str) -> Scalar:
    if _NOT_FINITE.fullmatch(text):
        raise ScalarError(f"{text} is not a number that can be used", "write a finite number")
    integer = _INTEGER.fullmatch(text)
    if not integer and not _FLOAT.fullmatch(text):
        return text
    if len(text) > _LONGEST_NUMBER:
        raise ScalarError("a number of more than 40 digits", "write a number that fits, or put the text in quotes")
    digits = text.replace("_", "")
    value = int(digits) if integer else float(digits)
    if math.isinf(value):
        raise ScalarError(f"{text} is too large a number", "write a finite number")
    return value


def _tagged(text: str, tag: str) -> Scalar:
    kind = tag.removeprefix(_TAGS)
    if kind == "str":
        return text
    value = _plain(text) if kind in ("int", "float", "bool", "null") else None
    if kind == "float" and type(value) is int:
        return float(value)
    wanted = {"int": int, "float": float, "bool": bool, "null": type(None)}.get(kind)
    if wanted is None:
        raise ScalarError("a YAML tag of this kind is not read", "write the plain value, without a tag")
    if type(value) is not wanted:
        raise ScalarError(f"the value is not a !!{kind}", "write the plain value, without a tag")
    return value
