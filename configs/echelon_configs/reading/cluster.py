"""Reads `_task_groups.yaml`: its sections, and groups and pools inline or in files of their own."""

from dataclasses import replace
from typing import TypeVar

from echelon_configs.problems import Problems
from echelon_configs.raw.cluster import RawCluster, RawDefaults
from echelon_configs.raw.fallbacks import RawGlobalFallback
from echelon_configs.raw.fields import Raw
from echelon_configs.raw.limits import RawConcurrencyControl, RawLevels, RawTopRateLimiting
from echelon_configs.reading.drafts import Draft, Reading
from echelon_configs.reading.groups import read_group
from echelon_configs.reading.nodes import read_nodes
from echelon_configs.reading.pools import read_pool
from echelon_configs.reading.rates import resolve_top
from echelon_configs.reading.validate import report_unknown, shown, validate
from echelon_configs.text.files import is_inside
from echelon_configs.text.marked import Marked

T = TypeVar("T", bound=Raw)


def read_cluster(document: Marked, reading: Reading) -> Draft:
    """Everything `_task_groups.yaml` says, and the files it names."""
    draft = Draft()
    report_unknown(document, tuple(RawCluster.model_fields), reading.problems)
    rates = _section(document, "rate_limiting", RawTopRateLimiting, reading)
    draft.rate_limiting, draft.limits = resolve_top(rates, document.get("rate_limiting"), reading.problems)
    draft.global_fallback = _section(document, "global_fallback", RawGlobalFallback, reading) or draft.global_fallback
    draft.defaults = _section(document, "defaults", RawDefaults, reading) or draft.defaults
    draft.concurrency = _concurrency(document, reading) or draft.concurrency
    _read_groups(document, draft, reading)
    _read_pools(document, draft, reading)
    read_nodes(document, draft, reading)
    return draft


def _named_items(document: Marked, section: str, problems: Problems) -> dict[str, Marked]:
    """The named things of a section; nothing when it is not written."""
    node = document.get(section)
    if node is None or node.value is None:
        return {}
    if node.mapping is None:
        problems.error(node, "a mapping of names is expected", "write NAME: with its keys below it")
        return {}
    return node.mapping


def _read_groups(document: Marked, draft: Draft, reading: Reading) -> None:
    for name, written in _named_items(document, "task_groups", reading.problems).items():
        body = _body(written, name, "task_groups", reading)
        if _is_off(written) or (body is not None and _is_off(body)):
            draft.disabled_groups.add(name)
        elif body is not None:
            draft.groups[name] = read_group(name, written, body, draft, reading)


def _read_pools(document: Marked, draft: Draft, reading: Reading) -> None:
    for name, written in _named_items(document, "polling_pools", reading.problems).items():
        body = _body(written, name, "polling_pools", reading)
        if _is_off(written) or (body is not None and _is_off(body)):
            draft.disabled_pools.add(name)
        elif body is not None:
            draft.pools[name] = read_pool(name, written, body, draft, reading)


def _is_off(node: Marked) -> bool:
    enabled = node.get("enabled")
    return enabled is not None and enabled.value is False


def _body(written: Marked, name: str, section: str, reading: Reading) -> Marked | None:
    """What is written inline, or in the file that the registry form names."""
    file = written.get("file")
    if file is None:
        return written
    problems = reading.problems
    for key in written.mapping or {}:
        if key not in ("file", "enabled"):
            problems.error(written.key(key), f"{shown(key)} beside `file:`", f"move it into {shown(file.value)}")
    if _is_off(written):
        if isinstance(file.value, str):
            reading.files.leave_out(file.value)
        return None
    if not isinstance(file.value, str) or not is_inside(file.value):
        problems.error(file, f"{shown(file.value)} is not the name of a file here", "write a name below this directory")
        return None
    path = reading.files.named(file.value)
    if path is None:
        problems.error(file, f"there is no file {shown(file.value)}", f"looked for {reading.files.places(file.value)}")
        return None
    document = reading.files.document(path)
    return _unwrapped(document, name, section, problems) if document is not None else None


def _unwrapped(document: Marked, name: str, section: str, problems: Problems) -> Marked | None:
    """A file holds the body itself, or the body under its name, or both under the section's."""
    body = document
    for key in (section, name):
        inner = body.get(key)
        if body.mapping is not None and list(body.mapping) == [key] and inner is not None and inner.mapping is not None:
            body = inner
    nested = body.get("file")
    if nested is not None:
        problems.error(nested, "a file names a further file", "write what belongs here")
        return None
    return body


def _section(document: Marked, key: str, cls: type[T], reading: Reading) -> T | None:
    node = document.get(key)
    if node is None or node.value is None:
        return None
    return validate(cls, node, reading.problems, reading.registry)


def _concurrency(document: Marked, reading: Reading) -> RawConcurrencyControl | None:
    node = document.get("concurrency_control")
    if node is None or node.value is None:
        return None
    levels = node.get("levels")
    if node.mapping is not None and levels is not None:
        merged = _levels(levels, reading.problems)
        node = replace(node, value={**node.mapping, "levels": merged}) if merged else node.without("levels")
    return validate(RawConcurrencyControl, node, reading.problems, reading.registry)


def _levels(levels: Marked, problems: Problems) -> Marked | None:
    """The levels as one mapping, whether written as a list of small mappings or as one."""
    if not isinstance(levels.value, list):
        return levels
    merged: dict[str, Marked] = {}
    for item in levels.value:
        if item.mapping is None:
            advice = f"write - NAME: {{limit, queue_size}} with a name of {', '.join(RawLevels.model_fields)}"
            problems.error(item, f"{shown(item.value)} is not a level", advice)
            continue
        for name, level in item.mapping.items():
            if name in merged:
                problems.error(
                    item.key(name), f"{shown(name)} is given twice", f"it stands on line {merged[name].key_line} too"
                )
            merged.setdefault(name, level)
    return replace(levels, value=merged)
