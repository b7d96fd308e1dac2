"""Schedulers by name: ours, and users' own."""

from collections.abc import Mapping, Sequence

import pytest

from echelon_configs.registry import Registry
from echelon_workers.ledger.rotation import primitive_of
from echelon_workers.schedulers import SCHEDULERS, Scheduler, SchedulerUnusable, Standing, scheduler_named
from echelon_workers.schedulers.weighted import Weighted


class CheapestFirst(Scheduler):
    """A user's own."""

    def scores(self, standings: Sequence[Standing]) -> Mapping[str, float]:
        return {standing.instance: 1000.0**-place for place, standing in enumerate(standings)}


class Backwards(Scheduler):
    """A user's own that wants what only ours have."""

    primitive = "rotate"


def test_every_name_that_a_configuration_may_use_is_here_and_no_other() -> None:
    assert tuple(SCHEDULERS) == Registry().schedulers


@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_plan_and_the_class_agree_on_how_turns_are_taken(name: str) -> None:
    assert scheduler_named(name).primitive == primitive_of(name)


def test_a_users_own_is_found_by_its_path_and_goes_by_scores() -> None:
    path = f"{__name__}:CheapestFirst"
    assert isinstance(scheduler_named(path), CheapestFirst)
    assert primitive_of(path) == "score"
    assert isinstance(scheduler_named("weighted"), Weighted)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("no.such.module:Class", "cannot be used (ModuleNotFoundError"),
        (f"{__name__}:Missing", "cannot be used (AttributeError"),
        ("builtins:dict", "is no scheduler (would be right: a subclass of echelon_workers.schedulers.Scheduler)"),
        (f"{__name__}:Backwards", "takes turns by 'rotate' (would be right: by scores"),
    ],
)
def test_what_cannot_be_used_is_said_with_what_would_be_right(path: str, said: str) -> None:
    with pytest.raises(SchedulerUnusable) as found:
        scheduler_named(path)
    assert said in str(found.value)


def test_without_scores_of_its_own_a_scheduler_goes_by_the_weights() -> None:
    assert Scheduler().scores([Standing(instance="a", weight=2), Standing(instance="b")]) == {"a": 2, "b": 1}
