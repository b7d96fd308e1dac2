"""What becomes of a job after each kind of failure, under each kind of configuration."""

from dataclasses import replace
from typing import Any

import pytest
from configured import configured
from walks import FOREVER, job, places, walk

from echelon_workers import errors
from echelon_workers.decision import Decision, Delay, Skipped, decide, divert, job_of
from echelon_workers.errors import BY_CODE, AttemptFailed
from echelon_workers.strategies import Attempt

GROUPS = """
task_groups:
  fast:
    first: {models: [openai-a, claude-a], max_retries: 1, priority: 1}
    second: {models: [gemini-b], max_retries: 0, priority: 2}
    third: {models: [openai-c], max_retries: 0, priority: 3}
    fallback_config: {strategy: echelon_down, fallback_groups: [other.only], max_attempts: 9, retry_delay: 1}
  other:
    only: {models: [mistral-d], max_retries: 0}
  single:
    only: {models: [openai-e], max_retries: 2}
    fallback_config: {strategy: task_group_switch, max_attempts: 9, retry_delay: 2}
polling_pools:
  mixed: {task_groups: [fast.first, other], fallback_config: {strategy: instance_rotation, max_instance_attempts: 4}}
  steady: {task_groups: [fast.first], fallback_config: {strategy: simple_retry, max_instance_attempts: 3}}
workflow_nodes:
  planner: {llm_group: fast.first, fallback_groups: [single.only, pool.mixed]}
  hasty: {llm_group: single.only, task_config: {max_retries: 0}}
"""
WHOLE = configured(GROUPS)
FAST = job(WHOLE, "fast")


def failed(*names: str, queue: str = "fast.first") -> tuple[Attempt, ...]:
    return tuple(Attempt(queue, name, "server_failed", "here") for name in names)


def decided(
    failure: AttemptFailed, *before: str, target: str = "fast", left_ms: float = FOREVER, **options: Any
) -> Decision:
    start = job(WHOLE, target)
    instance = WHOLE.queues[start.queue].members[0].instance
    return decide(
        WHOLE, start, failed(*before, queue=start.queue), failure, instance=instance, left_ms=left_ms, **options
    )


def test_retries_come_first_then_the_strategy_then_the_fallback_groups() -> None:
    assert places(walk(WHOLE, FAST)) == [
        "fast.first openai-a",
        "fast.first claude-a",
        "fast.second gemini-b",
        "fast.third openai-c",
        "other.only mistral-d",
    ]


def test_an_instance_that_was_not_tried_is_tried_at_once() -> None:
    decision = decided(errors.ServerFailed("500"))
    assert (decision.verdict, decision.queue, decision.avoid) == ("retry", "fast.first", ("openai-a",))
    assert decision.delay == Delay(0, 0)


def test_a_move_names_its_queue_and_its_strategy() -> None:
    decision = decided(errors.ServerFailed("500"), "claude-a")
    assert (decision.verdict, decision.queue, decision.strategy) == ("move", "fast.second", "echelon_down")
    assert decision.because == "strategy echelon_down"
    last = walk(WHOLE, FAST)[3][1]
    assert (last.queue, last.strategy, last.because) == (
        "other.only",
        "fallback_groups",
        "fallback_groups of group fast",
    )


def test_what_was_passed_over_is_on_record() -> None:
    decision = decided(errors.ServerFailed("500"), "claude-a", closed={"gemini-b"})
    assert decision.queue == "fast.third"
    assert decision.skipped == (
        Skipped("fast.first", "", "all 2 attempts that it gives are spent"),
        Skipped("fast.second", "gemini-b", "it is out for now"),
    )
    assert decision.to_json()["skipped"][1] == {
        "queue": "fast.second",
        "instance": "gemini-b",
        "why": "it is out for now",
    }


def test_with_no_other_instance_the_same_is_tried_after_a_delay_that_doubles() -> None:
    path = walk(WHOLE, job(WHOLE, "single"))
    assert places(path) == ["single.only openai-e"] * 3
    assert [decision.delay for _, decision in path[:2]] == [Delay(1000, 2000), Delay(2000, 4000)]
    assert path[-1][1].because.startswith("there is nowhere left to go (single.only openai-e: server_failed; ")


def test_a_retry_after_is_waited_out_at_the_same_instance_only() -> None:
    again = decided(errors.ServerFailed("503", retry_after_s=7.5), target="single")
    assert again.delay == Delay(7500, 7500)
    assert decided(errors.ServerFailed("503", retry_after_s=7.5)).delay == Delay(0, 0)


def test_an_instance_that_states_its_delays_has_them() -> None:
    groups = "task_groups: {g: {e: {models: [slow], max_retries: 3}, fallback_config: {max_attempts: 9}}}"
    model = (
        "{model_type: openai, model_name: m, "
        "retry_config: {base_delay: 3, exponential_base: 10, max_delay: 20, jitter: false}}"
    )
    whole = configured(groups, slow=model)
    assert [decision.delay for _, decision in walk(whole, job(whole, "g"))[:3]] == [
        Delay(3000, 3000),
        Delay(20_000, 20_000),
        Delay(20_000, 20_000),
    ]


def test_no_retries_means_that_the_strategy_comes_at_once() -> None:
    assert places(walk(WHOLE, job(WHOLE, "single", "hasty"))) == ["single.only openai-e"]
    assert places(walk(WHOLE, job(WHOLE, "fast.second")))[1:] == ["fast.third openai-c", "other.only mistral-d"]


@pytest.mark.parametrize("code", BY_CODE)
def test_every_failure_goes_where_its_class_says(code: str) -> None:
    """With a second instance beside, and an echelon below."""
    decision = decided(BY_CODE[code]("scripted"))
    expected = {"rate_limited": "wait", "bad_request": "bury", "content_refused": "bury"}
    assert decision.verdict == expected.get(code, "retry")
    alone = decided(BY_CODE[code]("scripted"), target="single")
    elsewhere = {"quota_exhausted", "authentication_failed", "instance_unusable", "context_too_long"}
    assert alone.verdict == ("bury" if code in elsewhere else expected.get(code, "retry"))


def test_a_rate_limit_is_waited_for_and_spends_nothing() -> None:
    for before in ((), ("claude-a",) * 20):
        decision = decided(errors.RateLimited("429", retry_after_s=7.5), *before)
        assert (decision.verdict, decision.delay_ms) == ("wait", 7500)


def test_an_instance_that_would_fail_again_is_never_gone_back_to() -> None:
    path = walk(WHOLE, job(WHOLE, "single"), "authentication_failed")
    assert (len(path), path[0][1].skipped) == (
        1,
        (Skipped("single.only", "openai-e", "it has failed, and would again"),),
    )
    whole = configured(GROUPS.replace("max_retries: 1", "max_retries: 5"))
    path = walk(whole, job(whole, "fast"), "quota_exhausted server_failed server_failed server_failed")
    assert places(path)[:4] == [
        "fast.first openai-a",
        "fast.first claude-a",
        "fast.first claude-a",
        "fast.first claude-a",
    ]


def test_an_unknown_failure_is_tried_again_once() -> None:
    path = walk(WHOLE, FAST, "unknown_failure")
    assert places(path) == ["fast.first openai-a", "fast.first claude-a"]
    assert path[-1][1].because.startswith("unknown_failure has been tried again already")
    assert len(walk(WHOLE, FAST, "unknown_failure server_failed server_failed unknown_failure server_failed")) == 4


def test_refused_content_goes_elsewhere_only_where_the_configuration_says_so() -> None:
    assert places(walk(WHOLE, FAST, "content_refused")) == ["fast.first openai-a"]
    free = configured(GROUPS.replace("retry_delay: 1}", "retry_delay: 1, fallback_on_refusal: true}"))
    assert places(walk(free, job(free, "fast"), "content_refused"))[:3] == [
        "fast.first openai-a",
        "fast.first claude-a",
        "fast.second gemini-b",
    ]


def test_the_budget_is_one_for_the_whole_way() -> None:
    whole = configured(GROUPS.replace("max_attempts: 9, retry_delay: 1}", "max_attempts: 4, retry_delay: 1}"))
    path = walk(whole, job(whole, "fast"))
    assert len(path) == 4
    assert path[-1][1].because == (
        "all 4 attempts are spent (fast.first openai-a: server_failed; fast.first claude-a: server_failed; "
        "fast.second gemini-b: server_failed; fast.third openai-c: server_failed)"
    )


def test_the_last_attempt_of_the_budget_is_kept_for_elsewhere() -> None:
    """The seed's own echelon: three retries, and three attempts in all."""
    whole = configured(
        "task_groups: {g: {a: {models: [openai-a, claude-a], max_retries: 3, priority: 1}, "
        "b: {models: [gemini-b], priority: 2}, fallback_strategy: echelon_down}}"
    )
    assert places(walk(whole, job(whole, "g"))) == ["g.a openai-a", "g.a claude-a", "g.b gemini-b"]
    down = walk(whole, job(whole, "g"), closed={"gemini-b"})
    assert places(down) == ["g.a openai-a", "g.a claude-a", "g.a openai-a"]


def test_an_attempt_that_would_start_after_the_deadline_is_not_made() -> None:
    late = decided(errors.ServerFailed("503"), target="single", left_ms=1999)
    assert late.verdict == "bury"
    assert late.because.startswith("the next attempt would start after the deadline")
    assert decided(errors.ServerFailed("503"), left_ms=11).verdict == "retry", "another instance is there at once"


def test_a_job_whose_deadline_has_passed_expires_unless_it_has_failed_for_good() -> None:
    past = decided(errors.ServerFailed("503"), left_ms=9)
    assert past.verdict == "expire"
    assert past.because.startswith("its deadline has passed")
    assert decided(errors.ServerFailed("503"), left_ms=-5).verdict == "expire"
    assert decided(errors.BadRequest("400"), left_ms=9).verdict == "bury"
    assert decided(errors.RateLimited("429"), left_ms=9).verdict == "wait", "the reaper ends it where it waits"


def test_with_no_time_for_a_delay_the_job_goes_on_at_once() -> None:
    whole = configured(GROUPS.replace("models: [openai-a, claude-a]", "models: [openai-a]"))
    failure = errors.ServerFailed("503")
    assert decide(whole, job(whole, "fast"), (), failure, instance="openai-a", left_ms=500).queue == "fast.second"


def test_a_jobs_own_fallbacks_win_over_its_nodes_and_those_over_its_groups() -> None:
    by_node = walk(WHOLE, job(WHOLE, "node.planner", "planner"))
    assert places(by_node)[2] == "single.only openai-e"
    assert by_node[1][1].because == "fallback_groups of node planner"
    own = walk(WHOLE, job(WHOLE, "fast", "planner", ["fast.third", "model.gemini-b"]))
    assert places(own)[2:] == ["fast.third openai-c", *["model.gemini-b gemini-b"] * 3]
    assert own[1][1].because == "fallback_groups of the job"


def test_a_job_may_state_that_it_goes_nowhere() -> None:
    assert places(walk(WHOLE, job(WHOLE, "fast", fallbacks=[]))) == ["fast.first openai-a", "fast.first claude-a"]


def test_where_a_group_says_nothing_the_global_fallback_holds() -> None:
    groups = (
        "task_groups: {g: {a: {models: [openai-a], max_retries: 0}, b: {models: [gemini-b], max_retries: 9}}}\n"
        "global_fallback: {max_attempts: 5, retry_delay: 0.5}"
    )
    path = walk(whole := configured(groups), job(whole, "g"))
    assert places(path) == ["g.a openai-a"] + ["g.b gemini-b"] * 4
    assert path[1][1].delay == Delay(250, 500)
    off = configured(groups.replace("{max_attempts", "{enabled: false, max_attempts"))
    assert places(walk(off, job(off, "g"))) == ["g.a openai-a"]


def test_a_pool_rotates_within_its_own_attempts_and_then_is_at_its_end() -> None:
    path = walk(WHOLE, job(WHOLE, "pool.mixed"))
    assert places(path) == [f"pool.mixed {name}" for name in ("openai-a", "claude-a", "mistral-d", "openai-a")]
    assert [decision.strategy for _, decision in path[:3]] == ["instance_rotation"] * 3


def test_a_pool_of_simple_retries_stays_with_its_instance() -> None:
    path = walk(WHOLE, job(WHOLE, "pool.steady"))
    assert places(path) == ["pool.steady openai-a"] * 3
    assert places(walk(WHOLE, job(WHOLE, "pool.steady"), "authentication_failed server_failed")) == [
        "pool.steady openai-a",
        "pool.steady claude-a",
        "pool.steady claude-a",
    ]


def test_a_single_model_retries_within_the_global_budget() -> None:
    assert places(walk(WHOLE, job(WHOLE, "model.openai-a"))) == ["model.openai-a openai-a"] * 3


def test_a_job_from_below_goes_home_when_home_has_an_instance_again() -> None:
    trail = failed("gemini-b", queue="fast.second")
    here = replace(FAST, queue="fast.third")
    decision = decide(WHOLE, here, trail, errors.ServerFailed("x"), instance="openai-c", left_ms=FOREVER)
    assert (decision.queue, decision.strategy) == ("fast.first", "home")


def test_what_failed_is_revisited_only_when_nothing_else_is_left() -> None:
    groups = """
task_groups:
  g:
    a: {models: [openai-a, claude-a], max_retries: 9, priority: 1}
    b: {models: [gemini-b], max_retries: 0, priority: 2}
    fallback_config: {max_attempts: 9}
"""
    whole = configured(groups)
    trail = (Attempt("g.a", "openai-a", "server_failed", "here"), Attempt("g.a", "claude-a", "timed_out", "here"))
    start = job(whole, "g")
    there = replace(start, queue="g.b")
    decision = decide(whole, there, trail, errors.ServerFailed("x"), instance="gemini-b", left_ms=FOREVER)
    assert (decision.verdict, decision.queue, decision.delay.most_ms) == ("move", "g.a", 1000)


def test_with_all_that_is_left_out_for_now_it_waits_there() -> None:
    decision = decided(errors.ServerFailed("x"), target="single", closed={"openai-e"})
    assert (decision.verdict, decision.avoid) == ("retry", ())
    assert decision.because == "all that is left is out for now: it waits there"
    gone = decided(errors.QuotaExhausted("x"), target="single", closed={"openai-e"})
    assert gone.verdict == "bury", "for this job it is out for good"


def test_a_job_whose_queue_is_all_out_goes_straight_down_before_any_attempt() -> None:
    assert divert(WHOLE, FAST, (), closed={"openai-a"}) is None
    decision = divert(WHOLE, FAST, (), closed={"openai-a", "claude-a"})
    assert decision is not None
    assert (decision.verdict, decision.queue, decision.strategy) == ("move", "fast.second", "echelon_down")
    everything = set(WHOLE.instances)
    assert divert(WHOLE, FAST, (), closed=everything) is None, "with nowhere to go it stays"


def test_a_strategy_of_ones_own_that_breaks_is_on_record_and_the_way_goes_on() -> None:
    whole = configured(GROUPS.replace("strategy: echelon_down", "strategy: 'no_such:Thing'"))
    path = walk(whole, job(whole, "fast"))
    assert places(path)[2:] == ["other.only mistral-d"]
    assert any("the strategy no_such:Thing cannot be used" in skip.why for skip in path[1][1].skipped)


def test_the_same_facts_give_the_same_decision_and_only_the_draw_is_by_lot() -> None:
    one, other = (decided(errors.ServerFailed("x"), target="single") for _ in range(2))
    assert one == other
    assert [one.drawn(chance).delay_ms for chance in (0.0, 0.5, 1.0)] == [1000, 1500, 2000]


def test_a_job_in_a_queue_that_there_is_no_more_goes_home() -> None:
    for gone in ("fast.gone", "pool.gone", "model.gone"):
        here = replace(FAST, queue=gone)
        trail = failed("openai-a", queue=gone)
        decision = decide(WHOLE, here, trail, errors.ServerFailed("x"), instance="no-more", left_ms=FOREVER)
        assert (decision.verdict, decision.queue) == ("move", "fast.first")
        away = divert(WHOLE, here, (), closed=())
        assert away is not None
        assert away.queue == "fast.first"


def test_a_job_whose_target_there_is_no_more_has_its_queue_as_its_home() -> None:
    lost = job_of(WHOLE, queue="fast.second", target="no.more", node="gone", request=FAST.request)
    assert (lost.home, lost.node) == ("fast.second", None)
