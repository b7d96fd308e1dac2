"""How many calls a second the simulator answers on one core.

The client is this process: raw sockets on asyncio with httptools, no pipelining, 150 connections, requests with the
headers that a provider's SDK sends. The simulator is a process of its own with rate limits in force (never reached),
so that quotas, rate-limit headers and the arrival log are all at work. A call's price is the CPU time of the server's
process over the calls it answered: that is what "on one core" means on a machine where the client takes the other.
Beside it: llmock, where it is installed.
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import httptools
import uvloop

from echelon_producers.simulator.process import SimulatorProcess

CONNECTIONS = 150
GOAL_PER_CORE_S = 3_000
PROMPT = "Summarise in one sentence what the harbour master wrote. " * 18
LIMITS = {"models": {"*": {"limits": {"rpm": 100_000_000, "tpm": 1_000_000_000_000}}}}
SDK_HEADERS = """accept: application/json
accept-encoding: gzip, deflate
content-type: application/json
user-agent: AsyncOpenAI/Python 3.54.0
x-stainless-lang: python
x-stainless-package-version: 3.54.0
x-stainless-os: Linux
x-stainless-arch: x64
x-stainless-runtime: CPython
x-stainless-runtime-version: 3.11.7
x-stainless-async: async:asyncio
x-stainless-retry-count: 0
x-stainless-read-timeout: 60
x-echelon-instance: openai-gpt4
x-echelon-job: 0192f0c1a2b34c5d8e9f00112233445566
x-echelon-attempt: 1
"""
CHAT = {"model": "gpt-4o", "max_tokens": 512, "messages": [{"role": "user", "content": PROMPT}]}
SCENARIOS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "openai": ("/openai/v1/chat/completions", "authorization: Bearer simulated", CHAT),
    "anthropic": (
        "/anthropic/v1/messages",
        "x-api-key: simulated\nanthropic-version: 2023-06-01",
        {**CHAT, "model": "claude-haiku-4-5"},
    ),
    "gemini": (
        "/gemini/v1beta/models/gemini-2.5-flash:generateContent",
        "x-goog-api-key: simulated",
        {"contents": [{"role": "user", "parts": [{"text": PROMPT}]}], "generationConfig": {"maxOutputTokens": 512}},
    ),
    "openai streamed": ("/openai/v1/chat/completions", "authorization: Bearer simulated", {**CHAT, "stream": True}),
}


class Load:
    """A number of calls to make, shared by all connections."""

    def __init__(self, request: bytes, calls: int) -> None:
        self.request = request
        self.left = calls
        self.answered = 0
        self.failed = 0


class Connection(asyncio.Protocol):
    """Sends the request again as soon as the answer is complete, while the load lasts."""

    def __init__(self, load: Load, done: "asyncio.Future[None]") -> None:
        self._load = load
        self._done = done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast(asyncio.Transport, transport)
        self._parser = httptools.HttpResponseParser(self)
        self._send()

    def _send(self) -> None:
        if self._load.left <= 0:
            self._transport.close()
            return
        self._load.left -= 1
        self._transport.write(self._load.request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._load.answered += 1
        self._load.failed += self._parser.get_status_code() != 200
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_result(None)


def request_bytes(path: str, auth: str, body: dict[str, Any], port: int) -> bytes:
    payload = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\nhost: 127.0.0.1:{port}\n{auth}\n{SDK_HEADERS}content-length: {len(payload)}\n\n"
    return head.replace("\n", "\r\n").encode() + payload


async def drive(port: int, request: bytes, calls: int) -> Load:
    load = Load(request, calls)
    loop = asyncio.get_running_loop()
    ends = []
    for _ in range(CONNECTIONS):
        done: asyncio.Future[None] = loop.create_future()
        ends.append(done)
        await loop.create_connection(lambda done=done: Connection(load, done), "127.0.0.1", port)  # type: ignore[misc]
    await asyncio.gather(*ends)
    return load


def measure(port: int, cpu_s: Callable[[], float], name: str, path: str, body: dict[str, Any], calls: int,
            auth: str) -> dict[str, Any]:  # fmt: skip
    request = request_bytes(path, auth, body, port)
    uvloop.run(drive(port, request, calls // 10))
    cpu_before, wall_before = cpu_s(), time.perf_counter()
    load = uvloop.run(drive(port, request, calls))
    wall_s, used_s = time.perf_counter() - wall_before, cpu_s() - cpu_before
    if load.failed or load.answered != calls:
        raise SystemExit(f"{name}: {load.failed} of {load.answered} answers were not 200 (wanted {calls})")
    return {
        "scenario": name,
        "calls": calls,
        "calls_s": round(calls / wall_s),
        "calls_per_core_s": round(calls / used_s),
        "cpu_us_per_call": round(used_s / calls * 1e6, 1),
    }


def simulator_rows(calls: int) -> list[dict[str, Any]]:
    with SimulatorProcess() as simulator:
        simulator.load(LIMITS)
        port = int(simulator.url.rpartition(":")[2])

        def cpu_s() -> float:
            return float(simulator.ready()["cpu_s"])

        rows = []
        for name, (path, auth, body) in SCENARIOS.items():
            rows.append(measure(port, cpu_s, name, path, body, calls // (3 if body.get("stream") else 1), auth))
        counted = simulator.counts()
        sent = sum(row["calls"] + row["calls"] // 10 for row in rows)
        if counted["arrivals"] != sent or counted["statuses"] != {"200": sent}:
            raise SystemExit(f"the simulator counted {counted['arrivals']} arrivals of {sent}: {counted['statuses']}")
    return rows


def llmock_row(calls: int) -> dict[str, Any] | None:
    """The same OpenAI calls against llmock, by its CPU time as Linux reports it; None where either is missing."""
    llmock = shutil.which("llmock", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if llmock is None or not Path("/proc/self/stat").exists():
        return None
    port = 19_000 + os.getpid() % 10_000
    server = subprocess.Popen([llmock, "serve", "--host", "127.0.0.1", "--port", str(port), "--log-level", "error"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip

    def cpu_s() -> float:
        fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    try:
        if not answers_within(port, 20):
            return None
        path, auth, body = SCENARIOS["openai"]
        return measure(port, cpu_s, "llmock", path.removeprefix("/openai"), body, calls, auth)
    finally:
        server.terminate()
        server.wait()


def answers_within(port: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
            return True
        time.sleep(0.1)
    return False


def report(rows: list[dict[str, Any]], baseline: dict[str, Any] | None, short: bool) -> dict[str, Any]:
    beside = baseline["calls_per_core_s"] if baseline else None
    goals = [
        {
            "name": f"{row['scenario']}: calls/s on one core",
            "value": row["calls_per_core_s"],
            "goal": GOAL_PER_CORE_S,
            "baseline": beside if row["scenario"] == "openai" else None,
            "met": row["calls_per_core_s"] >= GOAL_PER_CORE_S,
        }
        for row in rows
        if "streamed" not in row["scenario"]
    ]
    return {
        "benchmark": "simulator",
        "short": short,
        "connections": CONNECTIONS,
        "rows": [*rows, *([baseline] if baseline else [])],
        "goals": goals,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Calls a second of the simulator on one core.")
    parser.add_argument("--short", action="store_true", help="fewer calls; about ten seconds")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    calls = 6_000 if options.short else 40_000
    document = report(simulator_rows(calls), llmock_row(calls // 6), options.short)
    if options.json:
        print(json.dumps(document, indent=2))
    else:
        for row in document["rows"]:
            print(f"{row['scenario']:16} {row['calls_s']:7,} calls/s  {row['calls_per_core_s']:7,} calls/s per core  "
                  f"{row['cpu_us_per_call']:7.1f} us CPU per call")  # fmt: skip
        for goal in document["goals"]:
            beside = f", llmock {goal['baseline']:,}" if goal["baseline"] else ""
            verdict = "met" if goal["met"] else "NOT MET"
            print(f"{verdict}: {goal['name']}: {goal['value']:,} (goal {goal['goal']:,}{beside})")
    return 0 if all(goal["met"] for goal in document["goals"]) else 1


if __name__ == "__main__":
    sys.exit(main())
