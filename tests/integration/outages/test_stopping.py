"""A worker is stopped while Redis is there and does not answer."""

import json
import signal
import time
from base64 import b64decode
from typing import Any

from outage_server import OutageServer
from waiting import until
from worker_process import FAST, WorkerProcess

from echelon_workers.consumer import HEARTBEAT_S

from .conftest import Cluster

GRACE_S = 1.0


def test_a_worker_stops_while_redis_is_silent_and_its_jobs_are_answered_by_another(
    server: OutageServer, cluster: Cluster
) -> None:
    warm, cold = (
        cluster.work(name, slots=4, ECHELON_GRACE_S=str(GRACE_S), ECHELON_LEASE_S="3") for name in ("warm", "cold")
    )
    ids = cluster.client.submit_many(["nap 4"] * 8, target=FAST)
    cluster.until_arrived(8)
    with server.stopped():
        silent_since = time.monotonic()
        until(lambda: time.monotonic() > silent_since + HEARTBEAT_S + 1, what="an event has met the silence")
        warm.send(signal.SIGTERM)
        cold.send(signal.SIGQUIT)
        told = time.monotonic()
        until(lambda: has_ended(cold), timeout_s=30, what="the one told to stop at once has ended")
        left_s = told + GRACE_S + 30 - time.monotonic()
        until(lambda: has_ended(warm), timeout_s=left_s, what="the one told to stop has ended")
    cluster.work("other", ECHELON_LEASE_S="3")
    cluster.until_answered(ids, timeout_s=40)


def test_a_worker_that_stops_says_so_in_an_event_and_exits_0(server: OutageServer, cluster: Cluster) -> None:
    with server.redis.pubsub() as heard:
        heard.psubscribe("*celeryev*")
        worker = cluster.work()
        until(lambda: said(heard.get_message(), b"worker-online"), what="it is online")
        assert worker.stop(signal.SIGTERM) == 0
        until(lambda: said(heard.get_message(), b"worker-offline"), what="it is offline")


def has_ended(worker: WorkerProcess) -> bool:
    return worker.process.poll() is not None


def said(message: Any, event: bytes) -> bool:
    """Whether a message that was heard is of this event: kombu's JSON, whose body is in base64."""
    return bool(message) and message["type"] == "pmessage" and event in b64decode(json.loads(message["data"])["body"])
