"""The arrival log: what is written can be read, and the oldest goes first."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echelon_producers.simulator.arrivals import ADMITTED, FIELDS, GONE, Arrival, ArrivalLog

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

ROWS = st.lists(
    st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["", "eu"]), st.text(max_size=5), st.sampled_from([0, 200])),
    max_size=20,
)


def begin(log: ArrivalLog, number: int, model: str = "m", instance: str = "", job: str = "") -> Arrival:
    return log.begin(provider="openai", operation="call", model=model, instance=instance, key="k", job=job, attempt=1,
                     in_flight=2, tokens_in=3, fault="500", time_ns=number + 10, monotonic_ns=number)  # fmt: skip


def rows(log: ArrivalLog, since: int = 0, **where: str) -> list[dict[str, Any]]:
    return [dict(zip(FIELDS, row, strict=True)) for row in log.view(since).rows(where)]


@quick
@given(ROWS)
def test_every_row_reads_as_it_was_written(written: list[tuple[str, str, str, int]]) -> None:
    log = ArrivalLog()
    for number, (model, instance, job, status) in enumerate(written):
        begin(log, number, model, instance, job).finish(status)
    read = [(row["model"], row["instance"] or "", row["job"] or "", row["status"] or 0) for row in rows(log)]
    assert read == written
    assert log.next_number == len(written)
    only = [row["number"] for row in rows(log, model="a", status="200")]
    assert only == [number for number, row in enumerate(written) if row[0] == "a" and row[3] == 200]
    assert list(log.view().column("monotonic_ns", {"instance": "eu"})) == [
        number for number, row in enumerate(written) if row[1] == "eu"
    ]


def test_a_row_tells_how_the_call_ended() -> None:
    log = ArrivalLog()
    answered, gone = begin(log, 0), begin(log, 1)
    begin(log, 2)
    answered.admit(40)
    answered.finish(200)
    gone.finish(0, GONE)
    first, second, third = rows(log)
    assert (first["status"], first["tokens_out"], first["admitted"], first["client_gone"]) == (200, 40, True, False)
    assert (second["status"], second["client_gone"], second["admitted"]) == (None, True, False)
    assert (third["status"], third["done_ns"]) == (None, None)
    assert first["done_ns"] > 0
    assert (first["provider"], first["operation"], first["fault"], first["key"]) == ("openai", "call", "500", "k")
    assert list(log.view().column("tokens_out", {}, ADMITTED)) == [40]


def test_beyond_its_bound_the_log_drops_the_oldest_and_says_so() -> None:
    log = ArrivalLog(most_rows=100_000)
    first = begin(log, 0, job="first")
    for number in range(1, 65_536 * 2 + 5):
        begin(log, number)
    first.finish(200)
    assert log.dropped == 65_536
    assert log.next_number == 65_536 * 2 + 5
    assert [row["number"] for row in rows(log, since=65_536 * 2 + 3)] == [65_536 * 2 + 3, 65_536 * 2 + 4]
    assert rows(log, since=0)[0]["number"] == 65_536
    assert log.view().column("monotonic_ns", {})[0] == 65_536


def test_a_view_does_not_see_what_comes_after_it() -> None:
    log = ArrivalLog()
    begin(log, 0)
    view = log.view()
    begin(log, 1)
    assert len(list(view.rows({}))) == 1


def test_a_name_never_seen_matches_nothing() -> None:
    log = ArrivalLog()
    begin(log, 0)
    assert rows(log, model="never") == []
