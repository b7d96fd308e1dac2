"""How an instance is, from the fields of its scope."""

import pytest

from echelon_workers.ledger.instances import FIELDS, FORGET_MS, InstanceStatus, instance_status

NOW = 1_800_000_000_000


def status(**fields: object) -> InstanceStatus:
    row = [str(fields[name]).encode() if name in fields else None for name in FIELDS]
    assert fields.keys() <= set(FIELDS)
    return instance_status("one", row, NOW)


def test_one_of_which_nothing_is_known_is_healthy() -> None:
    assert status() == InstanceStatus(name="one", state="healthy")


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({"bf": 1}, "degraded"),
        ({"ew": f"10 0.95 100 100 {NOW}"}, "healthy"),
        ({"ew": f"10 0.85 100 100 {NOW}"}, "degraded"),
        ({"ew": f"10 1 3200 1000 {NOW}"}, "degraded"),
        ({"ew": f"10 1 2900 1000 {NOW}"}, "healthy"),
        ({"ew": f"10 1 400 100 {NOW}"}, "healthy"),  # four times what is usual, and hardly longer
        ({"ew": f"3 1 9000 1000 {NOW}"}, "healthy"),  # too few to say
        ({"bo": NOW + 5000, "bf": 3}, "unhealthy"),
        ({"bo": NOW, "bf": 3}, "recovering"),
    ],
)
def test_the_state(fields: dict[str, object], state: str) -> None:
    assert status(**fields).state == state


def test_a_bad_time_is_forgotten() -> None:
    assert status(ew=f"10 0.5 100 100 {NOW}").success_rate == 0.5
    later = status(ew=f"10 0.5 100 100 {NOW - FORGET_MS}")
    assert (later.success_rate, later.state) == (0.816, "degraded")
    assert status(ew=f"10 0.5 100 100 {NOW - 3 * FORGET_MS}").state == "healthy"


def test_its_figures() -> None:
    found = status(cl=5, cu=2, nb=NOW + 700, bo=NOW + 9000, bw="timed_out", bf=4, hp=NOW - 1500, hr="ok")
    assert (found.in_use, found.concurrency, found.rests_ms, found.failures) == (2, 5, 700, 4)
    assert (found.open_ms, found.why, found.probed_ms_ago, found.probe) == (9000, "timed_out", 1500, "ok")
    assert found.to_json()["state"] == "unhealthy"


def test_one_that_is_out_until_the_configuration_changes_says_so() -> None:
    found = status(bo=NOW + 10 * 365 * 86_400_000, bw="authentication_failed")
    assert (found.state, found.open_ms) == ("unhealthy", None)
