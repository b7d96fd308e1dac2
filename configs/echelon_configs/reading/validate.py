"""Marked YAML to a raw class, with every error at its own file, line and path."""

from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from echelon_configs.problems import Problems
from echelon_configs.raw.fields import Raw
from echelon_configs.registry import Registry
from echelon_configs.text.leaks import is_literal_secret, is_secret_name
from echelon_configs.text.marked import Marked, step

T = TypeVar("T", bound=Raw)

# What a type error of pydantic means to who writes YAML.
_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
_WRITE = {
    "a whole number": "write digits only, such as 10",
    "a number": "write a number, such as 0.5, without a unit",
    "true or false": "write true or false",
    "text": "put it in quotes",
    "a list": "write [ITEM, ITEM], or one `- ITEM` a line",
    "a mapping": "write KEY: VALUE lines below it",
}
# Words that mean one of our keys without looking like it.
_OTHER_WORDS = {
    "provider": "model_type",
    "model": "models",
    "fallbacks": "fallback_groups",
    "rps": "rpm_limit",
    "retries": "max_retries",
    "thinking": "thinking_config",
    "prompt": "system_prompt",
    "strategy": "rotation_strategy",
}


def validate(cls: type[T], node: Marked, problems: Problems, registry: Registry) -> T | None:
    """The raw object, or None. What is wrong in one key does not hide what is wrong elsewhere: the object is then
    made of the keys that are right, so that the checks across the configuration can still run over it.
    """
    if node.mapping is None:
        problems.error(node, f"{_what(node.value)} where a mapping is expected", _WRITE["a mapping"])
        return None
    data = node.plain_data()
    try:
        return cls.model_validate(data, context=registry)
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False)
    for error in errors:
        _report(cls, node, error, problems)
    wrong = {error["loc"][0] for error in errors if error["loc"]}
    kept = {key: value for key, value in data.items() if key not in wrong}
    try:
        return cls.model_validate(kept, context=registry)
    except ValidationError:
        return None


def report_unknown(document: Marked, known: tuple[str, ...], problems: Problems) -> None:
    """An error for each key of the mapping that is not known."""
    for key in document.mapping or {}:
        if key not in known:
            advice = problems.did_you_mean(key, known)
            problems.error(document.key(key), f"unknown key {shown(key)}", advice)


def shown(value: Any, key: str = "") -> str:
    """A value for a message: short, and never a secret."""
    if isinstance(value, dict | list):
        return _what(value)
    text = str(value)
    if is_literal_secret(text) or (key and is_secret_name(key)):
        return "a hidden value"
    return repr(value) if len(text) <= 60 else f"{text[:57]!r}..."


def _what(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return "nothing" if value is None else shown(value)


def _report(cls: type[Raw], node: Marked, error: ErrorDetails, problems: Problems) -> None:
    location, kind = error["loc"], error["type"]
    place, rest = node.at(location)
    path = place.path
    for key in rest:
        path = step(path, key)
    if kind == "extra_forbidden":
        parent, _ = node.at(location[:-1])
        key = str(location[-1])
        known = _keys_at(cls, location[:-1])
        advice = f"did you mean {_OTHER_WORDS[key]}?" if _OTHER_WORDS.get(key) in known else ""
        advice = advice or _elsewhere(cls, location[:-1], key)
        name = "<hidden>" if is_literal_secret(key) else key[:60]
        problems.error(parent.key(key), f"unknown key {name!r}", advice or problems.did_you_mean(key, known), path=path)
        return
    message, advice = _said(error, kind, str(location[-1]) if location else "")
    where = place.key(str(rest[0])) if rest else place
    problems.error(where, message, advice, path=path)


def _said(error: ErrorDetails, kind: str, key: str) -> tuple[str, str]:
    context = error.get("ctx", {})
    value = error["input"]
    if kind == "wrong":
        return str(context["message"]), str(context["advice"])
    if kind == "missing":
        return "is missing", _missing(key)
    if kind in _EXPECTED:
        expected = _EXPECTED[kind]
        return f"{_what(value)} where {expected} is expected", _WRITE[expected]
    if kind in ("greater_than_equal", "greater_than", "less_than_equal", "less_than"):
        return _out_of_range(kind, context, value)
    if kind == "literal_error":
        return f"{shown(value, key)} is not one of the words known here", f"write {context['expected']}"
    if kind == "too_short":
        return _EMPTY.get(key, ("is empty", "name at least one"))
    if kind in ("string_too_short", "string_too_long"):
        return (
            ("is empty", "write a value, or leave the key out")
            if kind == "string_too_short"
            else ("is too long", "shorten it")
        )
    return "has a value that cannot be used", "see docs/config.md for what this key takes"


_EMPTY = {
    "models": ("an echelon of nothing: no models", "name at least one model"),
    "task_groups": ("a pool of nothing: no task groups", "name at least one group, or group.echelon"),
}


def _missing(key: str) -> str:
    return {
        "models": "write models: [NAME, ...]",
        "task_groups": "write task_groups: with what belongs to it",
    }.get(key, f"write {key}: VALUE")


def _out_of_range(kind: str, context: dict[str, Any], value: Any) -> tuple[str, str]:
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    for name, word in words.items():
        if name in context:
            bound = context[name]
            number = int(bound) if isinstance(bound, float) and bound.is_integer() else bound
            small = "below zero" if kind.startswith("greater") and value < 0 else f"not {word} {number:,}"
            return f"{shown(value)} is {small}", f"write a number {word} {number:,}"
    return f"{shown(value)} is out of range", "see docs/config.md"


def _elsewhere(cls: type[Raw], location: tuple[str | int, ...], key: str) -> str:
    """What to write for a key that is known one step further in, or one step further out."""
    here = _model_at(cls, location)
    for name, field in here.model_fields.items() if here else ():
        inner = _model_in(field.annotation)
        if inner is not None and key in inner.model_fields:
            return f"write it under {name}:"
    if location and key in _keys_at(cls, location[:-1]):
        return f"write it beside {location[-1]}:, not in it"
    return ""


def _keys_at(cls: type[Raw], location: tuple[str | int, ...]) -> tuple[str, ...]:
    """The keys known at a place."""
    model = _model_at(cls, location)
    return tuple(model.model_fields) if model is not None else ()


def _model_at(cls: type[Raw], location: tuple[str | int, ...]) -> type[Raw] | None:
    """The mapping that is written at a place, found by walking the annotations."""
    kind: Any = cls
    for key in location:
        model = _model_in(kind)
        if model is not None and isinstance(key, str) and key in model.model_fields:
            kind = model.model_fields[key].annotation
        else:
            kind = next((argument for argument in reversed(get_args(_container_in(kind)))), None)
    return _model_in(kind)


def _model_in(kind: Any) -> type[Raw] | None:
    if isinstance(kind, type) and issubclass(kind, Raw):
        return kind
    if get_origin(kind) in (Union, UnionType):
        return next((found for part in get_args(kind) if (found := _model_in(part))), None)
    return None


def _container_in(kind: Any) -> Any:
    if get_origin(kind) in (Union, UnionType):
        return next((part for part in get_args(kind) if get_origin(part) in (dict, list)), None)
    return kind
