"""Workers against llmock: a fake of three providers that is not ours, and that judges its clients.

Its verdict knows retries by their bodies: the same body again is a retry of the call that failed. So it judges a queue
of one instance whole; where a queue has several, a call that failed at one and was answered by another looks given up.
"""

import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from waiting import until
from worker_process import start_worker

from echelon_configs import load
from echelon_producers import Client, JobDied
from echelon_workers.ledger import revisions
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger
from echelon_workers.ledger.verbs import readmit

GROUPS = """\
task_groups:
  openai_group: {echelon1: {models: [mock-openai], timeout: 20, max_retries: 3}}
  anthropic_group: {echelon1: {models: [mock-anthropic], timeout: 20, max_retries: 3}}
  gemini_group: {echelon1: {models: [mock-gemini], timeout: 20, max_retries: 3}}
  mixed_group:
    echelon1: {models: [mock-openai, mock-anthropic, mock-gemini], timeout: 20, max_retries: 3}
    hasty: {models: [mock-openai], timeout: 1, max_retries: 1}
polling_pools:
  all_pool: {task_groups: [openai_group, anthropic_group, gemini_group], failure_threshold: 1000}
# The verdict is on what single calls and jobs do: breakers and probes have tests of their own.
global_fallback: {max_attempts: 4, circuit_breaker: {failure_threshold: 1000}}
defaults: {health_check_interval: 0}
"""
#: provider -> its path at llmock
PATHS = {"openai": "/v1", "anthropic": "/anthropic", "gemini": "/gemini"}
PROVIDERS = tuple(PATHS)
ANSWER_S = 20.0


class Llmock:
    """The control side of a running llmock."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(base_url=f"{url}/_llmock", timeout=10)

    def script(self, *behaviors: dict[str, Any]) -> None:
        """Faults for the requests to come; each is used up by the first that fits."""
        self._http.post("/scenario", json={"behaviors": behaviors}).raise_for_status()

    def requests(self) -> list[dict[str, Any]]:
        """Every request since the last reset."""
        return list(self._http.get("/requests").json()["requests"])

    def findings(self) -> list[dict[str, Any]]:
        """What llmock has to say against its clients: errors and warnings."""
        verdict = self._http.get("/verdict").json()
        assert verdict["calls"] > 0
        assert verdict["passed"] == (verdict["errors"] == 0)
        return list(verdict["findings"])

    def reset(self) -> None:
        """Forget every request and every fault."""
        self._http.post("/reset").raise_for_status()

    def answers(self) -> bool:
        """Whether it is up."""
        try:
            return self._http.get("/verdict").status_code == 200
        except httpx.TransportError:
            return False

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Llmock]:
    """llmock as a process of its own; it echoes prompts, so that an answer shows whose it is."""
    with _serve(tmp_path_factory.mktemp("llmock")) as llmock:
        yield llmock


@contextmanager
def _serve(folder: Path, *options: str) -> Iterator[Llmock]:
    log = folder / "llmock.log"
    port = _free_port()
    command = [sys.executable, "-m", "llmock.cli", "serve", "--port", str(port), "--response-style", "echo", *options]
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True) as process:
        llmock = Llmock(f"http://127.0.0.1:{port}")
        try:
            until(llmock.answers, what="llmock answers")
            assert process.poll() is None, log.read_text()
            yield llmock
        finally:
            llmock.close()
            process.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def llmock(server: Llmock, cluster: Address) -> Llmock:
    """llmock with nothing scripted and nothing seen."""
    server.reset()
    ledger = Ledger(cluster)
    ledger.run(
        readmit([f"mock-{provider}" for provider in PROVIDERS])
    )  # a refused key is out, but for a test's own time
    ledger.close()
    return server


@pytest.fixture(scope="module")
def cluster(redis_url: str, server: Llmock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """Two workers with the real providers, whose instances are at llmock; keys come from the environment."""
    folder = tmp_path_factory.mktemp("cluster")
    address = Address(redis_url, f"llmock{server.url.rpartition(':')[2]}")
    configuration = load(_configs(folder / "configs", server.url), environment={"MOCK_KEY": "x"}).configuration
    ledger = Ledger(address)
    revisions.publish(ledger, configuration)
    ledger.close()
    environment: dict[str, Any] = {
        "ECHELON_PROVIDERS": "echelon_workers.providers:Providers",
        "MOCK_KEY": "a-secret-key",
    }
    workers = [start_worker(address, folder / f"w{number}.log", wait=number == 2, **environment) for number in (1, 2)]
    yield address
    for worker in workers:
        worker.send(signal.SIGTERM)
    for worker in workers:
        assert worker.process.wait(30) == 0
        assert "a-secret-key" not in worker.output()
        assert "Traceback" not in worker.output(), worker.output()


def _configs(folder: Path, url: str) -> Path:
    groups = folder / "llms" / "groups"
    groups.mkdir(parents=True)
    (groups / "_task_groups.yaml").write_text(GROUPS)
    for provider, path in PATHS.items():
        lines = [f"model_type: {provider}", f"model_name: {provider}-model", f"base_url: {url}{path}"]
        lines += ["api_key: ${MOCK_KEY}", "parameters: {max_tokens: 256}"]
        (folder / "llms" / f"mock-{provider}.yaml").write_text("\n".join(lines))
    return folder


@pytest.fixture
def client(cluster: Address) -> Iterator[Client]:
    with Client(cluster.url, namespace=cluster.namespace) as client:
        yield client


def fail(status: int, provider: str, *, retry_after: float | None = None, times: int | None = 1) -> dict[str, Any]:
    """An error for the next `times` requests to a provider; None: for all."""
    behavior = {"type": "fail", "status": status, "times": times, "match": {"provider": provider}}
    return behavior if retry_after is None else {**behavior, "retry_after": retry_after}


def queue(provider: str) -> str:
    return f"{provider}_group.echelon1"


def test_jobs_of_many_queues_are_answered_by_three_providers_with_a_clean_verdict(
    llmock: Llmock, client: Client
) -> None:
    targets = [*map(queue, PROVIDERS), "mixed_group.echelon1", "pool.all_pool", "model.mock-openai"]
    jobs = client.submit_many([{"target": targets[i % 6], "prompt": f"Question {i} of ninety."} for i in range(90)])
    answers = [client.result(job, ANSWER_S) for job in jobs]
    for number, answer in enumerate(answers):
        assert f"Question {number} of ninety." in answer.text
        assert answer.usage.input_tokens > 0
        assert answer.usage.output_tokens > 0
    seen = Counter(request["provider"] for request in llmock.requests())
    assert seen == Counter(answer.instance.removeprefix("mock-") for answer in answers)
    assert min(seen.values()) >= 15
    assert llmock.findings() == []


def test_a_429_is_waited_out_and_spends_no_attempt(llmock: Llmock, client: Client) -> None:
    llmock.script(*(fail(429, provider, retry_after=1.5, times=3) for provider in PROVIDERS))
    jobs = [client.submit(queue(provider), f"{provider} {i}") for provider in PROVIDERS for i in range(6)]
    for job in jobs:
        client.result(job, ANSWER_S)
    limited = [record for record in map(client.status, jobs) if len(record.trail) > 1]
    assert len(limited) >= 3
    for record in limited:
        refused, *_, last = record.trail
        assert (refused["outcome"], refused["error"]["retry_after_s"]) == ("rate_limited", 1.5)
        assert (last["outcome"], record.attempts) == ("answered", 1)
    assert len(llmock.requests()) == 18 + 9
    assert llmock.findings() == []


def test_a_failure_of_the_provider_is_tried_again_after_a_while(llmock: Llmock, client: Client) -> None:
    faults = [
        fail(500, "openai"),
        fail(503, "openai"),
        fail(529, "anthropic"),
        fail(502, "gemini"),
        fail(504, "gemini"),
    ]
    llmock.script(*faults, {"type": "delay", "seconds": 1, "match": {"provider": "anthropic"}})
    jobs = [client.submit(queue(provider), f"{provider} {i}") for provider in PROVIDERS for i in range(4)]
    for job in jobs:
        client.result(job, ANSWER_S)
    assert Counter(request["status"] for request in llmock.requests()) == {
        200: 12, 500: 1, 502: 1, 503: 1, 504: 1, 529: 1,
    }  # fmt: skip
    assert llmock.findings() == []


def test_an_answer_that_comes_too_late_is_not_waited_for(llmock: Llmock, client: Client) -> None:
    llmock.script({"type": "delay", "seconds": 3})
    job = client.submit("mixed_group.hasty", "Be quick.")
    assert "Be quick." in client.result(job, ANSWER_S).text
    assert [attempt["outcome"] for attempt in client.status(job).trail] == ["timed_out", "answered"]
    assert llmock.findings() == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_an_error_that_no_retry_can_help_is_not_retried(llmock: Llmock, client: Client, status: int) -> None:
    llmock.script(*(fail(status, provider) for provider in PROVIDERS))
    jobs = [client.submit(queue(provider), f"{provider} {status}") for provider in PROVIDERS]
    for job in jobs:
        with pytest.raises(JobDied) as death:
            client.result(job, ANSWER_S)
        assert [attempt["error"]["status"] for attempt in death.value.record.trail] == [status]
    assert len(llmock.requests()) == 3
    assert llmock.findings() == []


def test_an_outage_does_not_become_a_storm_of_retries(llmock: Llmock, client: Client) -> None:
    llmock.script(*(fail(503, provider, times=None) for provider in PROVIDERS))
    jobs = [client.submit(queue(provider), f"{provider} {i}") for provider in PROVIDERS for i in range(5)]
    for job in jobs:
        with pytest.raises(JobDied) as death:
            client.result(job, ANSWER_S)
        assert death.value.record.error["because"].startswith("all 4 attempts are spent")  # type: ignore[index]
    assert len(llmock.requests()) == 15 * 4
    assert llmock.findings() == []


def test_a_job_whose_instance_fails_is_answered_by_another_at_once(llmock: Llmock, client: Client) -> None:
    llmock.script(fail(500, "openai", times=None))
    jobs = client.submit_many([f"Question {i}." for i in range(30)], target="mixed_group.echelon1")
    assert {client.result(job, ANSWER_S).instance for job in jobs} == {"mock-anthropic", "mock-gemini"}
    moved = [record.trail for record in map(client.status, jobs) if record.attempts > 1]
    assert len(moved) >= 8
    assert {attempt["instance"] for attempt, _ in moved} == {"mock-openai"}
    assert {attempt["delay_ms"] for attempt, _ in moved} == {0}
    findings = llmock.findings()
    assert {(finding["severity"], finding["code"]) for finding in findings} == {("warning", "gave_up")}
    assert len(findings) == len(moved)


def test_tools_and_schemas_come_back_as_they_were_asked_for(llmock: Llmock, client: Client) -> None:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = {"type": "function", "function": {"name": "weather", "description": "Weather", "parameters": parameters}}
    called = [
        client.submit(queue(provider), "The weather?", tools=[tool], function_calling="auto") for provider in PROVIDERS
    ]
    schema = {"type": "json_schema", "json_schema": {"name": "place", "schema": parameters, "strict": True}}
    asked = [client.submit(queue(provider), "A place?", response_format=schema) for provider in ("openai", "gemini")]
    for job in called:
        answer = client.result(job, ANSWER_S)
        assert [call.name for call in answer.tool_calls] == ["weather"]
        assert answer.finish_reason == "tool_calls"
    assert ['"city"' in client.result(job, ANSWER_S).text for job in asked] == [True, True]
    assert llmock.findings() == []


#: Quotas of llmock for each key, and the same of ours. Its bucket of requests is ours; it takes `max_tokens` off a
#: quota when a request arrives, and gives nothing back.
RPM, TPM, MOST_TOKENS = 120, 20_000, 256
QUOTAS = f"""\
task_groups:
  openai_group: {{echelon1: {{models: [mock-openai], timeout: 20, max_tokens: {MOST_TOKENS}}}}}
rate_limiting: {{estimate: worst_case, settle: reserved, tpm_limit: {TPM}}}
"""


@pytest.mark.parametrize(("jobs", "words"), [(RPM + 12, 1), (60, 200)], ids=["requests", "tokens"])
def test_a_saturated_cluster_never_meets_a_429_of_quotas_equal_to_its_limits(
    redis_url: str, tmp_path: Path, jobs: int, words: int
) -> None:
    quota = TPM if words > 1 else 10_000_000
    with _serve(tmp_path, "--rpm", str(RPM), "--tpm", str(quota)) as llmock:
        address = Address(redis_url, f"quota{llmock.url.rpartition(':')[2]}")
        folder = _configs(tmp_path / "configs", llmock.url)
        with (folder / "llms" / "mock-openai.yaml").open("a") as file:
            file.write(f"\nrate_limiting: {{bucket_size: {RPM}, refill_rate: {RPM / 60}}}\n")
        groups = folder / "llms" / "groups" / "_task_groups.yaml"
        groups.write_text(QUOTAS.replace(f"tpm_limit: {TPM}", f"tpm_limit: {quota}"))
        ledger = Ledger(address)
        revisions.publish(ledger, load(folder, environment={"MOCK_KEY": "x"}).configuration)
        environment: dict[str, Any] = {"ECHELON_PROVIDERS": "echelon_workers.providers:Providers", "MOCK_KEY": "x"}
        workers = [start_worker(address, tmp_path / f"w{n}.log", wait=n == 2, **environment) for n in (1, 2)]
        try:
            with Client(address.url, namespace=address.namespace) as client:
                ids = client.submit_many(["word " * words] * jobs, target="openai_group.echelon1")
                if words > 1:
                    until(
                        lambda: held_by_tokens(client),
                        timeout_s=ANSWER_S,
                        what="the tokens of this minute are reserved",
                    )
                else:
                    for job in ids:
                        client.result(job, ANSWER_S)
                statuses = Counter(request["status"] for request in llmock.requests())
                assert set(statuses) == {200}
                assert statuses[200] == (jobs if words == 1 else statuses[200])
                assert statuses[200] >= 12
                assert llmock.findings() == []
        finally:
            for worker in workers:
                worker.send(signal.SIGTERM)
            for worker in workers:
                worker.process.wait(30)
            ledger.close()


def held_by_tokens(client: Client) -> bool:
    """Whether the queue waits for tokens, and what was started has ended."""
    status = client.cluster_status()
    queue = next(each for each in status.queues if each.name == "openai_group.echelon1")
    return queue.held_by == "cluster:" and queue.counts.running == 0 and queue.counts.answered > 0
