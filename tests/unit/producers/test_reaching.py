"""What is wrong with Redis, as a producer is told it."""

import pytest
import redis
from redis._parsers.base import BaseParser
from redis.exceptions import OutOfMemoryError

from echelon_producers import EchelonError, SubmitInvalid, Unavailable, UnknownJob
from echelon_producers.reaching import is_away, reaching
from echelon_workers.ledger.address import Address

ADDRESS = Address("redis://:hidden-word@127.0.0.1:1/0")

#: What a server replies, and what is said of it.
REPLIES = [
    ("LOADING Redis is loading the dataset in memory", "it still loads its data", "try again in a moment"),
    ("OOM command not allowed when used memory > 'maxmemory'.", "its memory is full", "a larger maxmemory"),
    ("READONLY You can't write against a read only replica.", "it is a read-only replica", "the URL of its primary"),
    ("MISCONF Errors writing to the AOF file: No space left on device", "it cannot write its disk", "room on its disk"),
    ("NOREPLICAS Not enough good replicas to write.", "too few of its replicas", "try again when they are back"),
    ("MASTERDOWN Link with MASTER is down", "a replica without its primary", "when the failover is over"),
    ("BUSY Redis is busy running a script.", "busy with somebody's script", "try again in a moment"),
    ("NOAUTH Authentication required.", "it does not accept the user or the password", "redis://USER:PASSWORD@"),
    ("WRONGPASS invalid username-password pair", "it does not accept the user or the password", "redis://USER:PASS"),
    ("NOPERM User x has no permissions to run 'evalsha'", "its access list forbids it", "may run all commands"),
    ("CLUSTERDOWN Hash slot not served", "it is part of a Redis Cluster", "not in cluster mode"),
    ("WRONGTYPE the queue a.b is a hash in Redis, not a list", "somebody wrote to a key", "delete that key"),
    ("ERR max number of clients reached", "it cannot be reached", "try again"),
    ("ERR something that nobody knows", "it refuses", "something that nobody knows"),
]


@pytest.mark.parametrize(("reply", "what", "right"), REPLIES, ids=lambda value: value.partition(" ")[0])
def test_every_refusal_says_what_is_wrong_and_what_to_do(reply: str, what: str, right: str) -> None:
    with pytest.raises(Unavailable) as caught, reaching(ADDRESS, ["j1", "j2"]):
        raise BaseParser.parse_error(reply)
    said = str(caught.value)
    assert said.startswith("Redis at redis://:***@127.0.0.1:1/0 cannot be used: ")
    assert what in said
    assert right in said
    assert caught.value.job_ids == ("j1", "j2")


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (redis.ConnectionError("Connection refused"), "it cannot be reached: Connection refused"),
        (ConnectionResetError(104, "Connection reset by peer"), "it cannot be reached: [Errno 104]"),
        (OSError(113, "No route to host"), "it cannot be reached: [Errno 113]"),
        (redis.TimeoutError("Timeout reading from socket"), "it does not answer: Timeout reading"),
    ],
)
def test_a_server_that_is_away_is_said_to_be_away(error: Exception, what: str) -> None:
    with pytest.raises(Unavailable) as caught, reaching(ADDRESS):
        raise error
    assert what in str(caught.value)
    assert is_away(caught.value)


def test_one_that_refuses_is_not_away() -> None:
    with pytest.raises(Unavailable) as caught, reaching(ADDRESS):
        raise OutOfMemoryError("command not allowed")
    assert not is_away(caught.value)


@pytest.mark.parametrize(
    "error", [SubmitInvalid([("prompt", "missing")]), Unavailable("away"), EchelonError("no Redis")]
)
def test_errors_of_ours_go_through(error: EchelonError) -> None:
    with pytest.raises(EchelonError) as caught, reaching(ADDRESS, ["j1"]):
        raise error
    assert caught.value is error


def test_an_id_that_cannot_be_sent_is_that_of_no_job() -> None:
    with pytest.raises(UnknownJob, match=r"no job 'j.udc80'"), reaching(ADDRESS):
        "j\udc80".encode()
