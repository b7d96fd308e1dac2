"""The life of a job, as `echelon job show` tells it."""

import json
from typing import Any

import pytest

from echelon_producers.cli.jobs import moment
from echelon_producers.cli.life import life
from echelon_workers.ledger.record import FIELDS, JobRecord, read_record

FAST, LOWER = "fast_group.echelon1", "fast_group.echelon2"
ERROR = {"code": "server_failed", "message": "HTTP 503: Service unavailable, and a long explanation of why that is so"}
FAILED = {"queue": FAST, "instance": "openai-gpt4", "started_ms": 1000, "took_ms": 639, "outcome": "server_failed"}
MOVED = FAILED | {"error": ERROR, "decision": "move", "to": LOWER, "delay_ms": 1500, "because": "strategy echelon_down"}
LIMITED = FAILED | {"error": {"code": "rate_limited"}, "decision": "wait", "because": "it waits"}
OUT = {"queue": FAST, "instance": "", "started_ms": 1, "took_ms": 0, "outcome": "instances_out", "decision": "move"}
ANSWERED = FAILED | {
    "queue": LOWER,
    "outcome": "answered",
    "decision": "answer",
    "usage": {"input_tokens": 1400, "output_tokens": 23},
    "cost_usd": "0.00182",
}
LAPSE = {"decision": "lapse", "at_ms": 3000, "queue": FAST, "instance": "openai-gpt4", "worker": "w1@host:7:ab"} | {
    "lease": "1",
    "started_ms": 2000,
}
LATE = {"decision": "late", "at_ms": 4000, "lease": "1", "outcome": "answered"}
RELOCATED = {"decision": "relocate", "at_ms": 5000, "from": "old_group.echelon1", "to": FAST}
AGAIN = {"decision": "redrive", "at_ms": 9000, "state": "dead", "created_ms": 500, "ended_ms": 8000, "reason": ERROR}


def record(*trail: dict[str, Any], **fields: object) -> JobRecord:
    """As it is read from Redis."""
    text = "".join(json.dumps(entry) + "\n" for entry in trail)
    values = {"state": "queued", "queue": FAST, "home": FAST, "target": "fast_group", "created": 500} | fields
    found = read_record("j", [str({**values, "trail": text}.get(name, "")).encode() for name in FIELDS])
    assert found is not None
    return found


def told(*trail: dict[str, Any], columns: int = 80, **fields: object) -> list[str]:
    return list(life(record(*trail, **fields), columns))


def test_every_attempt_has_where_why_when_what_and_what_then() -> None:
    text = "\n".join(told(MOVED, ANSWERED, columns=200, queue=LOWER, state="answered"))
    first, second = text.split("\n\n")[1:]
    assert first.splitlines()[0] == f"attempt 1  {FAST}  openai-gpt4"
    assert "why        sent to fast_group\n" in first
    assert ", took 639 ms" in first
    assert f"outcome    server_failed: {ERROR['message']}" in first
    assert f"then       on to {LOWER} after 1.5 s (strategy echelon_down)" in first
    assert second.splitlines()[:2] == [f"attempt 2  {LOWER}  openai-gpt4", "  why        strategy echelon_down"]
    assert "tokens     1,400 + 23, 0.00182 USD" in second
    assert second.endswith("then       answered")


def test_what_spends_no_attempt_is_not_counted() -> None:
    heads = [
        line
        for line in told(LIMITED, OUT, FAILED | {"decision": "retry"}, FAILED)
        if line.startswith(("attempt", "no attempt"))
    ]
    assert [line.split("  ")[0] for line in heads] == ["no attempt", "no attempt", "attempt 1", "attempt 2"]


def test_what_was_passed_over_is_told() -> None:
    skipped = [{"queue": LOWER, "instance": "gemini", "why": "it does not fit"}, {"queue": "", "why": "unusable"}]
    lines = told(MOVED | {"skipped": skipped})
    assert f"  not        {LOWER} gemini: it does not fit" in lines
    assert "  not        unusable" in lines


def test_a_life_after_the_first_begins_with_why_it_was_sent_again() -> None:
    lines = told(FAILED | {"decision": "bury", "error": ERROR}, AGAIN, FAILED | {"decision": "retry"})
    place = next(number for number, line in enumerate(lines) if line.startswith("  again "))
    assert "sent again; it was dead: server_failed" in " ".join("".join(lines[place : place + 3]).split())
    heads = [(number < place, line[:9]) for number, line in enumerate(lines) if line.startswith("attempt")]
    assert heads == [(True, "attempt 1"), (False, "attempt 1")]
    assert "  why        sent again" in lines
    assert [line for line in told(AGAIN) if "again" in line]


@pytest.mark.parametrize("columns", [80, 100])
def test_no_line_is_wider_than_the_terminal(columns: int) -> None:
    why = {"because": "every word " * 40, "skipped": [{"queue": LOWER, "instance": "x", "why": "of it " * 40}]}
    lines = told(MOVED | why, AGAIN, error=json.dumps(ERROR | why), state="dead", ended=9000, columns=columns)
    assert max(map(len, lines)) <= columns


def test_what_a_job_waits_for_is_told() -> None:
    lines = told(waits="node:planning", since=1000)
    assert any(line.startswith("  waits      for node planning since ") for line in lines)


def test_a_provider_cannot_write_control_characters() -> None:
    error = {"code": "bad_request", "message": "\x1b[2Jgone\nand \x07"}
    assert not any(
        "\x1b" in line or "\x07" in line for line in told(FAILED | {"error": error}, error=json.dumps(error))
    )


def test_a_record_keeps_attempts_and_redrives_apart() -> None:
    found = record(FAILED, AGAIN, FAILED, AGAIN | {"at_ms": 9900, "created_ms": 9000}, created=9900)
    assert [len(found.trail), *(redrive["after"] for redrive in found.redrives)] == [2, 1, 2]
    assert (found.created_ms, found.waits_from_ms) == (500, 9900)
    assert found.redrives[0]["reason"] == ERROR
    assert record(FAILED).redrives == []


def test_its_state_is_told_with_since_when_and_why() -> None:
    lines = told(state="delayed", cause="timed_out", at=7000)
    assert f"  state      delayed since {moment(7000)}: timed_out" in lines
    assert "  state      queued" in told()


def test_a_lapse_says_who_was_lost_and_that_its_call_may_have_gone_on() -> None:
    lines = told(LAPSE, ANSWERED, columns=300)
    place = lines.index(
        f"  lapsed     {moment(3000)}, its worker w1@host:7:ab was not heard of for as long as the lease lasts: the "
        f"call to openai-gpt4, begun {moment(2000)}, may have gone on at the provider"
    )
    assert lines[place + 2] == f"attempt 1  {LOWER}  openai-gpt4"
    assert lines[place + 3] == "  why        its lease had lapsed"
    assert not any("may have gone on" in line for line in told(LAPSE | {"instance": ""}, columns=300))


def test_a_late_end_and_a_move_stand_where_they_were() -> None:
    lines = told(FAILED | {"decision": "retry"}, LATE, RELOCATED, ANSWERED, columns=200)
    kinds = [line.split()[0] for line in lines if line.startswith(("attempt", "  late ", "  moved "))]
    assert kinds == ["attempt", "late", "moved", "attempt"]
    assert f"  late       {moment(4000)}, an end (answered) came after its lease was lost, and was refused" in lines
    assert f"  moved      {moment(5000)}, by an operator, from old_group.echelon1 to {FAST}" in lines
    assert "  why        an operator moved it there" in lines
    assert [line[:9] for line in lines if line.startswith("attempt")] == ["attempt 1", "attempt 2"]


@pytest.mark.parametrize(
    ("decision", "said"),
    [
        ("expire", "expired: its deadline passed while it ran"),
        ("expired", "expired: its deadline passed while it waited"),
        ("hold", "stays where it is: every instance is out, and there is nowhere to go"),
        ("cancel", "cancelled"),
        ("novelty", "novelty"),
    ],
)
def test_a_decision_is_told_in_words(decision: str, said: str) -> None:
    assert f"  then       {said}" in told(FAILED | {"decision": decision}, columns=120)


@pytest.mark.parametrize("damage", ["x", 5, None, [], {}, 1.5, 2**80, "\x1b[2J"])
def test_a_damaged_entry_is_told_as_far_as_it_can_be_read(damage: object) -> None:
    for entry in (MOVED, ANSWERED, LAPSE, LATE, RELOCATED, AGAIN):
        for name in (*entry, "skipped", "because"):
            lines = told(entry | {name: damage}, columns=80)
            assert lines[0] == "job j"
            assert not any("\x1b" in line for line in lines)


def test_a_line_that_nobody_can_read_is_shown() -> None:
    found = read_record("j", [b'{"half' if name == "trail" else b"queued" for name in FIELDS])
    assert found is not None
    assert '  unreadable {"half' in list(life(found, 80))


def test_a_cause_that_says_no_more_than_the_state_is_left_out() -> None:
    assert f"  state      answered since {moment(7000)}" in told(
        state="answered", cause="answered", at=7000, ended=7000
    )
