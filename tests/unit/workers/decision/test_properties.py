"""What holds of every decision, whatever the configuration, the failures and the instances that are out."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from configured import configured
from hypothesis import given, settings
from hypothesis import strategies as st
from walks import job

from echelon_configs import Configuration, Registry
from echelon_workers.decision import Decision, Job, decide, divert, rules_of
from echelon_workers.decision.fit import Fit
from echelon_workers.errors import BY_CODE, AttemptFailed
from echelon_workers.strategies import Attempt

LIMITED = "{model_type: openai, model_name: m%s, supports: {tools: %s}, context_window: %s}"
MODELS = {
    "a": LIMITED % (1, "true", 100_000),
    "b": LIMITED % (2, "false", 100_000),
    "c": LIMITED % (3, "true", 1_500),
    "d": "{model_type: anthropic, model_name: m4}",
    "e": "{model_type: gemini, model_name: m5, retry_config: {base_delay: 0}}",
}
GROUPS = """
task_groups:
  one:
    first: {models: [a, b, c], priority: 1}
    second: {models: [d, a], priority: 2}
    third: {models: [e], priority: 3}
    fallback_config: {fallback_groups: [two.only, pool.all]}
  two:
    only: {models: [b, e]}
polling_pools:
  all: {task_groups: [one, two]}
  few: {task_groups: [one.first], fallback_config: {strategy: simple_retry}}
workflow_nodes:
  node: {llm_group: one.second, fallback_groups: [two, model.c]}
"""
WHOLE = configured(GROUPS, **MODELS)
TARGETS = ["one", "one.second", "one.third", "two.only", "pool.all", "pool.few", "model.a", "model.e", "node.node"]
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


@st.composite
def clusters(draw: st.DrawFn) -> Configuration:
    """The cluster above under other budgets, retries and strategies."""
    groups = {}
    for name, group in WHOLE.groups.items():
        fallback = group.fallback.model_copy(
            update={
                "strategy": draw(st.sampled_from([None, *Registry().strategies, "no_such:Thing"])),
                "max_attempts": draw(st.integers(1, 8)),
                "retry_delay_s": draw(st.sampled_from([0.0, 0.5, 30.0])),
                "fallback_on_refusal": draw(st.booleans()),
            }
        )
        echelons = {key: _retrying(echelon, draw(st.integers(0, 4))) for key, echelon in group.echelons.items()}
        groups[name] = group.model_copy(update={"fallback": fallback, "echelons": echelons})
    everywhere = WHOLE.global_fallback.model_copy(update={"max_attempts": draw(st.integers(1, 8))})
    return WHOLE.model_copy(update={"groups": groups, "global_fallback": everywhere})


def _retrying(echelon: Any, retries: int) -> Any:
    stated = echelon.stated.model_copy(update={"max_retries": retries})
    return echelon.model_copy(update={"stated": stated, "settings": echelon.settings.updated(stated)})


@st.composite
def jobs(draw: st.DrawFn, configuration: Configuration) -> Job:
    target = draw(st.sampled_from(TARGETS))
    own = draw(st.none() | st.lists(st.sampled_from(["one.third", "two", "pool.all", "model.d"]), max_size=3))
    asked: dict[str, Any] = draw(st.sampled_from([{}, {"tools": [TOOL]}, {"prompt": "x" * 8000}, {"max_tokens": 9}]))
    return job(configuration, target, "node" if target == "node.node" else "", own, **asked)


def failures() -> st.SearchStrategy[AttemptFailed]:
    after = st.none() | st.floats(0, 20)
    return st.builds(lambda code, after: BY_CODE[code]("x", retry_after_s=after), st.sampled_from(list(BY_CODE)), after)


Step = tuple[Job, tuple[Attempt, ...], Attempt, Decision, frozenset[str], float]


@st.composite
def walks(draw: st.DrawFn) -> tuple[Configuration, list[Step]]:
    """A job on its way to its end, with new failures, and other instances out, at each step."""
    configuration = draw(clusters())
    here = draw(jobs(configuration))
    left_ms = draw(st.sampled_from([0.0, 500.0, 60_000.0, float("inf")]))
    trail: tuple[Attempt, ...] = ()
    able = [member.instance for member in configuration.queues[here.queue].members]
    steps: list[Step] = []
    while True:
        closed = frozenset(draw(st.sets(st.sampled_from(sorted(MODELS)), max_size=4)))
        instance, failure = draw(st.sampled_from(able)), draw(failures())
        arguments: dict[str, Any] = {"instance": instance, "left_ms": left_ms, "closed": closed}
        decision = decide(configuration, here, trail, failure, **arguments)
        assert decision == decide(configuration, here, trail, failure, **arguments), "same input, same output"
        attempt = Attempt(here.queue, instance, failure.code, failure.retry, decision.delay.most_ms > 0)
        steps.append((here, trail, attempt, decision, closed, left_ms))
        assert len(steps) < 60, "it ends"
        if decision.ends:
            return configuration, steps
        if decision.verdict == "wait":
            left_ms = min(left_ms, 60_000.0) - 5_000  # the instance is asked again, and time goes by
            continue
        left_ms -= decision.delay.most_ms
        trail = (*trail, attempt)
        here = replace(here, queue=decision.queue)
        members = [member.instance for member in configuration.queues[here.queue].members]
        able = [name for name in members if name not in decision.avoid]


def moves(steps: list[Step]) -> Iterator[Step]:
    return (step for step in steps if step[3].verdict in ("retry", "move"))


@settings(max_examples=400, deadline=None)
@given(walks())
def test_it_always_ends_and_never_exceeds_its_budget(walked: tuple[Configuration, list[Step]]) -> None:
    configuration, steps = walked
    spent = [step for step in steps if step[3].verdict != "wait"]
    assert len(spent) <= rules_of(configuration, steps[0][0].home).max_attempts
    for *_, decision, _closed, left_ms in moves(steps):
        assert decision.delay.most_ms < left_ms or decision.delay.most_ms == 0
        assert 0 <= decision.delay.least_ms <= decision.delay.most_ms
    assert steps[-1][3].because
    for *_, decision, _closed, left_ms in steps:
        assert decision.verdict != "expire" or left_ms < 10


@settings(max_examples=400, deadline=None)
@given(walks())
def test_it_never_picks_an_instance_that_cannot_take_the_job(walked: tuple[Configuration, list[Step]]) -> None:
    configuration, steps = walked
    for here, trail, attempt, decision, closed, _ in moves(steps):
        queue = configuration.queues[decision.queue]
        known = (*trail, attempt)
        fit = Fit(configuration, here, known)
        chosen = [member for member in queue.members if member.instance not in decision.avoid]
        assert chosen, "take would avoid nothing"
        assert not any(fit.why_not(queue, member) for member in chosen)
        gone = {earlier.instance for earlier in known if earlier.retry != "here"}
        assert not gone & {member.instance for member in chosen}
        waits = decision.because == "all that is left is out for now: it waits there"
        assert waits or {member.instance for member in chosen} - closed


@settings(max_examples=400, deadline=None)
@given(walks())
def test_it_goes_back_to_what_failed_only_after_a_delay_or_to_wait(walked: tuple[Configuration, list[Step]]) -> None:
    configuration, steps = walked
    for here, trail, attempt, decision, _, _ in moves(steps):
        failed = {earlier.instance for earlier in (*trail, attempt)}
        chosen = set(_names(configuration, decision.queue)) - set(decision.avoid)
        own = configuration.instances[attempt.instance].retry.base_delay_s
        delay_s = rules_of(configuration, here.home).retry_delay_s if own is None else own
        assert not chosen & failed or decision.delay.most_ms > 0 or delay_s == 0


@settings(max_examples=200, deadline=None)
@given(data=st.data(), closed=st.sets(st.sampled_from(sorted(MODELS))))
def test_a_job_that_has_not_started_is_diverted_only_where_it_can_start(data: st.DataObject, closed: set[str]) -> None:
    configuration = data.draw(clusters())
    start = data.draw(jobs(configuration))
    decision = divert(configuration, start, (), closed=closed)
    fit = Fit(configuration, start, ())

    def starts(queue: str, avoid: tuple[str, ...] = ()) -> set[str]:
        members = configuration.queues[queue].members
        able = {member.instance for member in members if not fit.why_not(configuration.queues[queue], member)}
        return able - closed - set(avoid)

    if decision is not None:
        assert decision.verdict == "move"
        assert not starts(start.queue)
        assert starts(decision.queue, decision.avoid)
        assert decision == divert(configuration, start, (), closed=closed)


def _names(configuration: Configuration, queue: str) -> list[str]:
    return [member.instance for member in configuration.queues[queue].members]
