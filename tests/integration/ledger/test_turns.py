"""Whose turn it is: rotation, the least recent, and shares by scores, exact over the whole fleet."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from echelon_configs import load
from echelon_workers.ledger import revisions
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger
from echelon_workers.ledger.scores import publish_scores, read_standings
from echelon_workers.ledger.verbs import Grant, NewJob, Settlement, Terms, settle, submit, take

TERMS = Terms(lease_ms=60_000)
NAMES = ("openai-a", "openai-b", "openai-c")
CLUSTER = """\
task_groups:
  turn_group:
    rotated: {models: [openai-a, openai-b, openai-c]}
    rested: {models: [openai-a, openai-b, openai-c], rotation_strategy: least_recently_used}
    shared: {models: [openai-a, openai-b, openai-c], rotation_strategy: weighted}
    alone: {models: [openai-b]}
polling_pools:
  all_pool: {task_groups: [turn_group.rotated, turn_group.alone], rotation_strategy: weighted}
"""
ROTATED, RESTED, SHARED, ALONE = (f"turn_group.{name}" for name in ("rotated", "rested", "shared", "alone"))


class Fleet:
    """Workers by hand, on three instances."""

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        self.ledger = ledger
        self.folder = folder
        self.sequences: Counter[str] = Counter()
        self.jobs = 0

    def publish(self, *, limits: str = "", **weights: float) -> None:
        """`weights` of the instances a, b and c; `limits` are further lines of instance a's file."""
        groups = self.folder / "llms" / "groups"
        groups.mkdir(parents=True, exist_ok=True)
        (groups / "_task_groups.yaml").write_text(CLUSTER)
        for name in ("a", "b", "c"):
            lines = f"model_type: openai\nmodel_name: gpt\nweight: {weights.get(name, 1)}\n"
            (self.folder / "llms" / f"openai-{name}.yaml").write_text(lines + (limits if name == "a" else ""))
        revisions.publish(self.ledger, load(self.folder).configuration)

    def grants(self, queue: str, many: int, *, avoid: str = "", worker: str = "w1", names: Any = NAMES) -> list[Grant]:
        new = [NewJob(id=f"j{self.jobs + i}", queue=queue, request="{}", target=queue) for i in range(many)]
        self.jobs += many
        self.ledger.run(submit(new))
        if avoid:
            for job in new:
                self.ledger.redis.hset(self.ledger.keys.of("job", job.id), "avoid", avoid)
        self.sequences[worker] += 1
        sequence = self.sequences[worker]
        usable = [(queue, ",".join(names))]
        taken = self.ledger.run(take(worker, sequence, sequence - 1, usable, want=many, fills=False, terms=TERMS))
        return taken.grants

    def taken(self, queue: str, many: int = 1, **options: Any) -> str:
        """The letters of the instances, in the order of their grants."""
        return "".join(grant.instance[-1] for grant in self.grants(queue, many, **options))

    def score(self, scores: dict[str, dict[str, float]]) -> None:
        self.ledger.run(read_standings("w1", [], holds_ms=60_000))
        assert self.ledger.run(publish_scores("w1", scores, valid_ms=60_000))

    def end(self, grants: list[Grant]) -> None:
        self.ledger.run(
            settle([Settlement(id=grant.id, lease=grant.lease, ending="cancel") for grant in grants], TERMS)
        )


@pytest.fixture
def fleet(address: Address, tmp_path: Path) -> Iterator[Fleet]:
    ledger = Ledger(address)
    yield Fleet(ledger, tmp_path)
    ledger.close()


def test_rotation_goes_on_where_the_take_before_ended(fleet: Fleet) -> None:
    fleet.publish()
    assert fleet.taken(ROTATED, 4) + fleet.taken(ROTATED, 4, worker="w2") == "abcabcab"


def test_a_job_that_avoids_an_instance_takes_the_turn_of_the_next(fleet: Fleet) -> None:
    fleet.publish()
    assert fleet.taken(ROTATED, 2, avoid="openai-a") + fleet.taken(ROTATED, 2) == "bcab"


def test_the_instance_granted_longest_ago_is_next(fleet: Fleet) -> None:
    fleet.publish()
    assert fleet.taken(RESTED, 3) == "abc"
    assert fleet.taken(RESTED, 2) + fleet.taken(RESTED, 2, worker="w2") == "abca"


def test_grants_for_other_queues_count_too(fleet: Fleet) -> None:
    fleet.publish()
    assert fleet.taken(RESTED, 3) == "abc"
    fleet.taken("model.openai-a", names=("openai-a",))
    assert fleet.taken(RESTED, 3) == "bca"
    fleet.taken(ALONE, 2, worker="w2")
    assert fleet.taken(RESTED, 3) == "cab"


def test_one_that_had_no_permit_is_next_when_it_has_one_again(fleet: Fleet) -> None:
    fleet.publish(limits="concurrency_limit: 1\n")
    first = fleet.grants(RESTED, 5)
    assert "".join(grant.instance[-1] for grant in first) == "abcbc"
    fleet.end(first[:1])
    assert fleet.taken(RESTED, 3) == "abc"


def test_shares_follow_the_weights_and_are_evenly_spread(fleet: Fleet) -> None:
    """The sequence that nginx's algorithm is known for."""
    fleet.publish(a=5, b=1, c=1)
    assert fleet.taken(SHARED, 7) == "aabacaa"
    assert "".join(fleet.taken(SHARED, worker=f"w{i % 3}") for i in range(7)) == "aabacaa"


@pytest.mark.parametrize("weights", [(1, 1, 1), (3, 2, 1), (0.5, 0.25, 0.25), (10, 1, 0.1)])
def test_shares_are_exact_over_many_takes_by_many_workers(fleet: Fleet, weights: tuple[float, float, float]) -> None:
    fleet.publish(a=weights[0], b=weights[1], c=weights[2])
    taken = Counter("".join(fleet.taken(SHARED, 1 + i % 7, worker=f"w{i % 4}") for i in range(100)))
    whole = sum(taken.values())
    for name, weight in zip("abc", weights, strict=True):
        assert abs(taken[name] - whole * weight / sum(weights)) <= 1, taken


def test_published_scores_take_the_place_of_the_weights(fleet: Fleet) -> None:
    fleet.publish(a=5)
    scores = {SHARED: {"openai-a": 0.2, "openai-b": 0.1, "openai-c": 0.1}}
    fleet.score(scores)
    assert Counter(fleet.taken(SHARED, 40)) == {"a": 20, "b": 10, "c": 10}
    fleet.ledger.redis.delete(fleet.ledger.keys.of("scores", SHARED))  # as if they had expired
    assert Counter(fleet.taken(SHARED, 70)) == {"a": 50, "b": 10, "c": 10}


def test_a_score_of_nothing_leaves_a_thousandth_and_what_others_cannot_take(fleet: Fleet) -> None:
    fleet.publish(limits="concurrency_limit: 10\n")
    scores = {SHARED: {"openai-a": 1.0, "openai-b": 0.0, "openai-c": 0.0}}
    fleet.score(scores)
    taken = fleet.taken(SHARED, 16)
    assert (taken[:10], set(taken[10:])) == ("a" * 10, {"b", "c"})


def test_one_that_had_no_permit_saves_nothing_up(fleet: Fleet) -> None:
    fleet.publish(limits="concurrency_limit: 1\n", a=8)
    first = fleet.grants(SHARED, 21)
    assert Counter(grant.instance[-1] for grant in first) == {"a": 1, "b": 10, "c": 10}
    fleet.end([grant for grant in first if grant.instance == "openai-a"])
    fleet.publish(a=8)  # the limit is gone: it takes its share from now on, and no more
    assert Counter(fleet.taken(SHARED, 30)) == {"a": 24, "b": 3, "c": 3}


def test_a_worker_without_a_key_keeps_the_order_of_the_others(fleet: Fleet) -> None:
    fleet.publish(a=2, b=1, c=1)
    assert fleet.taken(SHARED, 1) == "a"
    assert fleet.taken(SHARED, 2, worker="w2", names=("openai-b", "openai-c")) == "bc"
    assert Counter(fleet.taken(SHARED, 40)) == {"a": 20, "b": 10, "c": 10}


def test_an_instance_that_is_there_for_two_echelons_has_its_share_once(fleet: Fleet) -> None:
    fleet.publish(a=2, b=1, c=1)
    assert Counter(fleet.taken("pool.all_pool", 40)) == {"a": 20, "b": 10, "c": 10}


def test_another_rotation_begins_anew(fleet: Fleet) -> None:
    fleet.publish(a=5)
    fleet.taken(SHARED, 3)
    fleet.folder.joinpath("llms", "groups", "_task_groups.yaml").write_text(CLUSTER.replace("weighted", "round_robin"))
    revisions.publish(fleet.ledger, load(fleet.folder).configuration)
    assert fleet.taken(SHARED, 3) == "abc"
