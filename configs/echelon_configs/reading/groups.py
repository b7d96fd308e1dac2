"""Reads one task group: its own keys, and its echelons inline or under `echelons:`."""

from dataclasses import replace

from echelon_configs.problems import Problems, nearest
from echelon_configs.raw.groups import RawEchelon, RawGroup
from echelon_configs.reading.drafts import Draft, DraftEchelon, DraftGroup, Reading
from echelon_configs.reading.names import check_name
from echelon_configs.reading.rates import resolve_rate
from echelon_configs.reading.validate import shown, validate
from echelon_configs.settings import CallSettings
from echelon_configs.text.marked import Marked, Place

_GROUP_KEYS = tuple(RawGroup.model_fields)
_MAPPING_KEYS = ("echelons", "fallback_config", "circuit_breaker", "rate_limiting")


def read_group(name: str, written: Marked, body: Marked, draft: Draft, reading: Reading) -> DraftGroup:
    """A group and its echelons, as far as they can be read."""
    problems = reading.problems
    check_name(name, "a group", Place(written.file, written.key_line, written.path), problems)
    own, inline = _split(body, problems)
    raw = validate(RawGroup, own, problems, reading.registry)
    echelons = _echelons(body, inline, draft, reading)
    if body.mapping is not None and not echelons:
        problems.error(body, "a group of nothing: no echelons", "write echelon1: with models: [NAME, ...] below it")
    rate = resolve_rate(raw.rate_limiting if raw else None, body.get("rate_limiting"), draft.rate_limiting, problems)
    return DraftGroup(name, body, raw, echelons, rate)


def _split(body: Marked, problems: Problems) -> tuple[Marked, dict[str, Marked]]:
    """The group's own keys, and what else stands there: its echelons."""
    if body.mapping is None:
        return body, {}
    inline: dict[str, Marked] = {}
    own: dict[str, Marked] = {}
    for key, child in body.mapping.items():
        if key in _GROUP_KEYS or not _is_echelon(key, child):
            own[key] = child
        else:
            inline[key] = child
    own.pop("echelons", None)
    _report_not_echelons(body, own, problems)
    return replace(body, value={key: child for key, child in own.items() if key in _GROUP_KEYS}), inline


def _is_echelon(key: str, child: Marked) -> bool:
    """Whether an unknown key of a group is meant as an echelon: a mapping that does not look like a misspelt key."""
    if child.mapping is None:
        return key.lower().startswith("echelon") and child.value is None
    return "models" in child.mapping or not nearest(key, _MAPPING_KEYS, 1)


def _report_not_echelons(body: Marked, own: dict[str, Marked], problems: Problems) -> None:
    for key in own:
        if key not in _GROUP_KEYS:
            advice = problems.did_you_mean(
                key, _GROUP_KEYS, "an echelon is a mapping: write models: [NAME, ...] below it"
            )
            problems.error(body.key(key), f"unknown key {shown(key)}", advice)


def _echelons(body: Marked, inline: dict[str, Marked], draft: Draft, reading: Reading) -> dict[str, DraftEchelon]:
    problems = reading.problems
    listed = body.get("echelons")
    named = dict(inline)
    if listed is not None and listed.value is not None and listed.mapping is None:
        problems.error(listed, "a mapping of echelons is expected", "write NAME: with models: [NAME, ...] below it")
    for name, node in ((listed.mapping if listed else None) or {}).items():
        if name in named:
            place = Place(node.file, node.key_line, node.path)
            problems.error(
                place, f"echelon {shown(name)} is given twice", f"it stands on line {named[name].key_line} too"
            )
        named.setdefault(name, node)
    return {name: _echelon(name, node, draft, reading) for name, node in named.items()}


def _echelon(name: str, node: Marked, draft: Draft, reading: Reading) -> DraftEchelon:
    problems = reading.problems
    check_name(name, "an echelon", Place(node.file, node.key_line, node.path), problems)
    if node.value is None:
        problems.error(node, "an echelon of nothing", "write models: [NAME, ...] below it")
        return DraftEchelon(name, node, None)
    raw = validate(RawEchelon, node, problems, reading.registry)
    _report_thinking(raw, node, problems)
    rate = resolve_rate(raw.rate_limiting if raw else None, node.get("rate_limiting"), draft.rate_limiting, problems)
    return DraftEchelon(name, node, raw, rate)


def _report_thinking(raw: RawEchelon | None, node: Marked, problems: Problems) -> None:
    if raw is None or raw.thinking_config is None:
        return
    budget, most = raw.thinking_config.budget_tokens, raw.max_tokens or CallSettings().max_tokens
    if raw.thinking_config.enabled and budget is not None and budget >= most:
        problems.warning(
            node.key("thinking_config"),
            f"a budget of {budget:,} tokens leaves no room in max_tokens {most:,}",
            "write a max_tokens above budget_tokens; some providers refuse the call otherwise",
        )
