"""Revokes while Redis is away or refuses; with Redis they are in tests/integration/test_revoke.py."""

from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any

import pytest
from redis.exceptions import ResponseError

from echelon_workers import control
from echelon_workers.ledger.verbs import Terms


def revoked(error: Exception, task_id: Any = "j1") -> dict[str, str]:
    """What the command answers when the loop has no reply for it in time, or another error."""

    def call(coroutine: Coroutine[Any, Any, Any], timeout_s: float) -> Any:
        assert timeout_s == control.REDIS_S
        coroutine.close()
        raise error

    runtime = SimpleNamespace(call=call, terms=Terms(), outbox=None)
    answer: dict[str, str] = control.revoke(SimpleNamespace(consumer=SimpleNamespace(runtime=runtime)), task_id)
    return answer


def test_while_redis_is_away_the_main_thread_waits_no_longer_than_it_may() -> None:
    assert revoked(TimeoutError()) == {"ok": "j1: cancelled as soon as Redis is back"}


@pytest.mark.parametrize("error", [ResponseError("WRONGTYPE no hash"), OSError("no route")])
def test_a_refusal_is_said(error: Exception) -> None:
    assert revoked(error) == {"error": f"Redis refuses to cancel j1: {error}"}


def test_of_many_only_some_are_named() -> None:
    (told,) = revoked(TimeoutError(), [f"j{number}" for number in range(1000)]).values()
    assert told.endswith("j19 and 980 more: cancelled as soon as Redis is back")
