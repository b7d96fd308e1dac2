"""Reading a job's record: whole, and as far as it can be read when somebody has damaged it."""

import json
from typing import Any

import pytest

from echelon_workers.ledger.job import Answer, Usage
from echelon_workers.ledger.record import EVENTS, FIELDS, JobRecord, read_object, read_record, whole_number, with_wait

FAST = "fast_group.echelon1"
ATTEMPT = {"attempt": 1, "queue": FAST, "instance": "openai-gpt4", "outcome": "timed_out", "decision": "retry"}
AGAIN = {"decision": "redrive", "at_ms": 9000, "state": "dead", "created_ms": 500, "ended_ms": 8000, "reason": None}
LAPSE = {"decision": "lapse", "at_ms": 700, "queue": FAST, "instance": "openai-gpt4", "worker": "w", "lease": "1"}
LATE = {"decision": "late", "at_ms": 800, "lease": "1", "outcome": "answered"}
MOVED = {"decision": "relocate", "at_ms": 900, "from": FAST, "to": "plan_group.echelon1"}
ANSWER = Answer(
    text="hi",
    finish_reason="stop",
    usage=Usage(input_tokens=1, output_tokens=1),
    model="gpt-4",
    instance="openai-gpt4",
    latency_ms=5,
)


def read(**fields: bytes | str | int) -> JobRecord:
    usual: dict[str, bytes | str | int] = {"state": "queued", "queue": FAST, "home": FAST, "target": FAST}
    values = {**usual, "created": 500, **fields}
    found = read_record("j", [_raw(values[name]) if name in values else None for name in FIELDS])
    assert found is not None
    return found


def _raw(value: bytes | str | int) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def trail(*entries: dict[str, Any] | str) -> str:
    return "".join((entry if isinstance(entry, str) else json.dumps(entry)) + "\n" for entry in entries)


def test_its_state_has_a_cause_and_a_time() -> None:
    record = read(state="delayed", cause="timed_out", at=1_234)
    assert (record.state, record.cause, record.changed_ms) == ("delayed", "timed_out", 1_234)
    assert (read().cause, read().changed_ms) == ("", 0)


def test_attempts_and_what_befell_it_else_are_apart_and_in_order() -> None:
    record = read(trail=trail(LAPSE, ATTEMPT, LATE, MOVED, ATTEMPT, AGAIN), created=9000)
    assert record.trail == [ATTEMPT, ATTEMPT]
    assert [(event["decision"], event["after"]) for event in record.events] == [
        ("lapse", 0),
        ("late", 1),
        ("relocate", 1),
        ("redrive", 2),
    ]
    assert record.redrives == [{name: AGAIN[name] for name in AGAIN if name != "decision"} | {"after": 2}]
    assert (record.created_ms, record.waits_from_ms) == (500, 9000)
    assert [event["decision"] for event in record.events if event["decision"] not in EVENTS] == []


def test_its_json_has_all_of_it() -> None:
    record = read(trail=trail(ATTEMPT, AGAIN), cause="sent again", at=9000, created=9000)
    shown = json.loads(json.dumps(record.to_json()))
    assert (shown["cause"], shown["changed_ms"], shown["trail"]) == ("sent again", 9000, [ATTEMPT])
    assert shown["redrives"] == record.redrives
    assert shown["events"] == [AGAIN | {"after": 1}]
    assert shown["answer"] is None


def test_a_record_without_a_state_is_no_job() -> None:
    assert read_record("j", [None] * len(FIELDS)) is None


def test_a_record_with_a_state_alone_can_be_read() -> None:
    values = [b"running" if name == "state" else None for name in FIELDS]
    record = read_record("j", values)
    assert record is not None
    assert (record.state, record.queue, record.attempts, record.trail, record.events) == ("running", "", 0, [], [])
    assert json.loads(json.dumps(record.to_json()))["state"] == "running"


@pytest.mark.parametrize("field", [name for name in FIELDS if name != "state"])
@pytest.mark.parametrize("state", ["queued", "running", "answered", "dead", "no such state"])
@pytest.mark.parametrize(
    "damage",
    [b"", b"\xff\xfe\x00", b"{", b"null", b"[1,2]", b"--5", b"1e999", "²".encode(), b"9" * 5000, b"[" * 100_000],
)
def test_whatever_stands_in_a_field_it_can_be_read(field: str, state: str, damage: bytes) -> None:
    fields: dict[str, bytes | str | int] = {"state": state, field: damage}
    record = read(**fields)
    json.dumps(record.to_json())
    assert isinstance(record.waits_from_ms, int)
    assert record.state == state


def test_an_answer_that_cannot_be_read_is_an_error_that_says_so() -> None:
    assert read(state="answered", answer=ANSWER.model_dump_json()).answer == ANSWER
    record = read(state="answered", answer='{"text": 5}')
    assert record.answer is None
    assert record.error == {"code": "unreadable", "message": 'its answer cannot be read: {"text": 5}'}


def test_lines_of_a_trail_that_cannot_be_read_stand_where_they_were() -> None:
    record = read(trail=trail(ATTEMPT, "{half", AGAIN | {"at_ms": "soon", "created_ms": None}, "[]", ATTEMPT))
    assert record.trail == [ATTEMPT, ATTEMPT]
    kinds = [(event["decision"], event["after"]) for event in record.events]
    assert kinds == [("unreadable", 1), ("redrive", 1), ("unreadable", 1)]
    assert record.events[0]["message"] == "{half"
    assert (record.created_ms, record.waits_from_ms) == (0, 0)


def test_a_separator_of_lines_inside_a_message_does_not_cut_an_entry() -> None:
    entry = json.dumps(ATTEMPT | {"error": {"code": "timed_out", "message": "a\u2028b\x85c"}}, ensure_ascii=False)
    assert [each["error"]["message"] for each in read(trail=trail(entry)).trail] == ["a\u2028b\x85c"]


@pytest.mark.parametrize(
    ("value", "number"),
    [("12", 12), ("-3", -3), (7, 7), ("", 0), (None, 0), ("1.5", 0), (1.5, 0), ("x", 0), (str(2**60), 0), ([], 0)],
)
def test_a_number_is_read_or_is_none(value: object, number: int) -> None:
    assert whole_number(value) == number


def test_what_is_no_object_is_shown_as_it_is() -> None:
    assert read_object('{"a": 1}') == {"a": 1}
    assert read_object("x" * 300) == {"code": "unreadable", "message": "x" * 200}


@pytest.mark.parametrize("mark", [b"", b"\xff \xff \xff \xff", b"1 w soon model:x", b"1"])
def test_a_mark_that_cannot_be_read_says_nothing(mark: bytes) -> None:
    assert with_wait(read(), mark, paused=False).waits_for == ""
    assert with_wait(read(), b"99 w 700 model:x", paused=False).waits_for == "model:x"
