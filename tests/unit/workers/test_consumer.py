"""The consumer's blueprint: Celery's steps with ours in place of some, each of them once."""

from echelon_workers.consumer import Consumer, Control, Events, Heart, Take


def test_our_steps_stand_where_celerys_were_and_none_is_there_twice() -> None:
    blueprint = Consumer.Blueprint()
    steps = list(blueprint.claim_steps().values())
    for own in (Take, Control, Events, Heart):
        assert own in steps
        assert own.__mro__[1] not in steps, f"Celery's {own.__name__} would run beside ours"
    left_out = {"Mingle", "Gossip", "DelayedDelivery", "Tasks"}
    assert not left_out & {step.__name__ for step in steps}
