"""The checks across the configuration: references, circles, and what is left when disabled things are gone."""

from collections.abc import Callable, Iterator

from echelon_configs.reading.drafts import Draft, DraftEchelon, DraftGroup, DraftNode, DraftPool, Reading
from echelon_configs.reading.targets import Outcome, Targets
from echelon_configs.reading.validate import shown
from echelon_configs.text.marked import Marked


def check(draft: Draft, reading: Reading) -> None:
    """Adds every problem of the draft as a whole. References to disabled things are dropped, with a warning."""
    targets = Targets(draft, reading)
    for group in draft.groups.values():
        for echelon in group.echelons.values():
            _check_models(echelon, targets, reading)
        _check_group_fallbacks(group, targets, reading)
    for pool in draft.pools.values():
        _check_pool(pool, targets, reading)
    for node in draft.nodes.values():
        _check_node(node, targets, reading)
    _check_circles(draft, reading)


def kept(names: list[str] | None, draft: Draft) -> tuple[str, ...]:
    """The targets of a list that are not disabled."""
    return tuple(name for name in names or () if not is_disabled(name, draft))


def is_disabled(target: str, draft: Draft) -> bool:
    """Whether a target is switched off by `enabled: false`."""
    if target.startswith("pool."):
        return target.removeprefix("pool.") in draft.disabled_pools
    if target.startswith("model."):
        return target.removeprefix("model.") in draft.disabled_models
    return target.partition(".")[0] in draft.disabled_groups


def _items(node: Marked | None) -> list[tuple[str, Marked]]:
    """The texts of a list with their places."""
    if node is None or not isinstance(node.value, list):
        return []
    return [(item.value, item) for item in node.value if isinstance(item.value, str)]


def _check_list(
    node: Marked | None, noun: str, look_up: Callable[[str, Marked], Outcome], reading: Reading
) -> Iterator[tuple[str, Marked]]:
    """Looks each item of a list up; yields those in force."""
    seen: set[str] = set()
    for name, item in _items(node):
        if name in seen:
            reading.problems.error(item, f"{shown(name)} is named twice", f"name each {noun} once")
            continue
        seen.add(name)
        outcome = look_up(name, item)
        if outcome == "disabled":
            reading.problems.warning(
                item, f"{shown(name)} is disabled, and left out here", "remove it, or enable it again"
            )
        if outcome != "disabled":
            yield name, item


def _check_models(echelon: DraftEchelon, targets: Targets, reading: Reading) -> None:
    models = echelon.node.get("models")
    in_force = list(_check_list(models, "model", targets.model, reading))
    if models is not None and not in_force and _items(models):
        reading.problems.error(
            models, "an echelon of nothing: each of its models is disabled", "enable one, or name another"
        )


def _check_group_fallbacks(group: DraftGroup, targets: Targets, reading: Reading) -> None:
    config = group.node.get("fallback_config")
    for name, item in _check_list(
        config.get("fallback_groups") if config else None, "target", targets.fallback, reading
    ):
        if name == group.name:
            reading.problems.error(
                item, f"group {group.name} falls back to itself", "name one of its echelons, or another group"
            )
    _report_two_strategies(group, reading)


def _report_two_strategies(group: DraftGroup, reading: Reading) -> None:
    raw = group.raw
    if raw is None or raw.fallback_config is None:
        return
    short, long = raw.fallback_strategy, raw.fallback_config.strategy
    if short is not None and long is not None and short != long:
        place = group.node.key("fallback_strategy")
        reading.problems.error(
            place, f"the strategy is given twice: {short}, and {long} in fallback_config", "keep one of the two"
        )
    breakers = (raw.circuit_breaker, raw.fallback_config.circuit_breaker)
    if None not in breakers and breakers[0] != breakers[1]:
        place = group.node.key("circuit_breaker")
        reading.problems.error(
            place, "the circuit breaker is given twice: here, and in fallback_config", "keep one of the two"
        )


def _check_pool(pool: DraftPool, targets: Targets, reading: Reading) -> None:
    listed = pool.node.get("task_groups")

    def look_up(name: str, item: Marked) -> Outcome:
        if name.startswith(("pool.", "model.", "node.")):
            reading.problems.error(item, f"{shown(name)} is not a group", "a pool is made of groups and echelons")
            return "unknown"
        return targets.group(name, item)

    in_force = list(_check_list(listed, "group", look_up, reading))
    if listed is not None and not in_force and _items(listed):
        reading.problems.error(
            listed, "a pool of nothing: each of its groups is disabled", "enable one, or name another"
        )


def _check_node(node: DraftNode, targets: Targets, reading: Reading) -> None:
    written = node.node
    places = {key: written.get(key) for key in ("llm_group", "polling_pool", "model")}
    look_ups = {"llm_group": targets.group, "polling_pool": targets.pool, "model": targets.model}
    given = {key: place for key, place in places.items() if place is not None and isinstance(place.value, str)}
    for key, place in given.items():
        if look_ups[key](str(place.value), place) == "disabled":
            reading.problems.error(
                place, f"{shown(place.value)} is disabled", "enable it, or send the node's jobs elsewhere"
            )
    if node.raw is not None and not any(place is not None and place.value is not None for place in places.values()):
        reading.problems.error(
            written, "a node without a target", "write llm_group: GROUP.ECHELON, polling_pool: or model:"
        )
    if "model" in given and len(given) > 1:
        reading.problems.error(
            given["model"],
            "a node with two targets: model beside a group or pool",
            "keep one; name the other in fallback_groups as model.NAME",
        )
    own = {str(place.value) for key, place in given.items() if key == "llm_group"}
    for name, item in _check_list(written.get("fallback_groups"), "target", targets.fallback, reading):
        if name in own:
            reading.problems.error(
                item, f"the node falls back to its own target {shown(name)}", "name another, or remove it"
            )


def _check_circles(draft: Draft, reading: Reading) -> None:
    """Groups whose fallbacks come back to where they began. A group may name its own echelons."""
    edges: dict[str, dict[str, Marked]] = {name: {} for name in draft.groups}
    for group in draft.groups.values():
        config = group.node.get("fallback_config")
        for name, item in _items(config.get("fallback_groups") if config else None):
            to = name.partition(".")[0]
            if to != group.name and to in draft.groups:
                edges[group.name].setdefault(to, item)
    done: set[str] = set()
    for start in edges:
        _walk(start, edges, done, reading)


def _walk(start: str, edges: dict[str, dict[str, Marked]], done: set[str], reading: Reading) -> None:
    """Depth first, without recursion; each circle is reported at the line that closes it."""
    trail: list[str] = [start]
    waiting = [iter(edges[start].items())] if start not in done else []
    while waiting:
        step = next(waiting[-1], None)
        if step is None:
            waiting.pop()
            done.add(trail.pop())
            continue
        name, item = step
        if name in trail:
            chain = " -> ".join([*trail[trail.index(name) :], name])
            reading.problems.error(item, f"the fallbacks go in a circle: {chain}", "remove one of these steps")
        elif name not in done:
            trail.append(name)
            waiting.append(iter(edges[name].items()))
