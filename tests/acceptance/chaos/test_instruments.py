"""What the run relies on: its plan is a function of its seed, and the proxy loses replies, not requests."""

import contextlib

import pytest
import redis
from acceptance.chaos.plan import plan_of
from conftest import RedisServer
from cutting_proxy import CuttingProxy
from redis.backoff import NoBackoff
from redis.retry import Retry

ADD = "return redis.call('INCR', KEYS[1])"


def through(proxy: CuttingProxy) -> "redis.Redis":
    return redis.Redis(port=proxy.port, retry=Retry(NoBackoff(), 0), socket_timeout=10)


def test_the_same_seed_is_the_same_plan() -> None:
    assert plan_of(7, 60) == plan_of(7, 60)
    assert plan_of(7, 60) != plan_of(8, 60)


@pytest.mark.parametrize("seed", range(5))
def test_every_plan_has_kills_a_long_stop_and_an_absence_of_the_server(seed: int) -> None:
    kinds = [event.kind for event in plan_of(seed, 30)]
    assert {"kill", "stop_long", "kill_server", "publish", "pause"} <= set(kinds)


def test_what_asked_for_a_dropped_reply_was_done(redis_server: RedisServer, namespace: str) -> None:
    with CuttingProxy(redis_server.port, seed=1, drop=1.0) as proxy:
        with contextlib.closing(through(proxy)) as client:
            with pytest.raises(redis.ConnectionError):
                client.eval(ADD, 1, namespace)
            assert client.get(namespace) == b"1"
        assert proxy.dropped == 1


def test_what_was_cut_was_not_done(redis_server: RedisServer, namespace: str) -> None:
    with CuttingProxy(redis_server.port, seed=1, cut=1.0) as proxy:
        with contextlib.closing(through(proxy)) as client:
            with pytest.raises(redis.ConnectionError):
                client.eval(ADD, 1, namespace)
            assert client.get(namespace) is None
        assert proxy.cuts == 1


def test_without_a_share_everything_passes(redis_server: RedisServer, namespace: str) -> None:
    with CuttingProxy(redis_server.port, seed=1) as proxy, contextlib.closing(through(proxy)) as client:
        assert [client.eval(ADD, 1, namespace) for _ in range(20)] == list(range(1, 21))
        assert (proxy.dropped, proxy.cuts) == (0, 0)
