"""A run against a real model behind an OpenAI-compatible URL; what it says is not judged.

    make real-model                                    a small model of our own, by llama.cpp
    ECHELON_REAL_MODEL_URL=http://HOST:PORT/v1 ECHELON_REAL_MODEL=NAME [ECHELON_REAL_MODEL_KEY=...] \
        .venv/bin/python -m pytest -s -p no:celery tests/acceptance/test_real_model.py
"""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from worker_process import start_worker

from echelon_configs import load
from echelon_producers import Client
from echelon_workers.ledger import revisions
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger

VARIABLES = ("ECHELON_REAL_MODEL_URL", "ECHELON_REAL_MODEL")
MISSING = [name for name in VARIABLES if not os.environ.get(name)]

pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"no real model: {' and '.join(MISSING)} not set (`make real-model` brings one)"
)

GROUPS = """\
task_groups:
  fast_group:
    echelon1: {models: [real-model], priority: 1, timeout: 300, max_retries: 1, max_tokens: 16}
    echelon2: {models: [real-model], priority: 2, timeout: 300, max_retries: 1, max_tokens: 16, temperature: 0}
polling_pools:
  all_pool: {task_groups: [fast_group]}
"""
MODEL = """\
model_type: openai_compatible
model_name: ${ECHELON_REAL_MODEL}
base_url: ${ECHELON_REAL_MODEL_URL}
api_key: ${ECHELON_REAL_MODEL_KEY:not-needed}
parameters: {max_tokens: 64}
timeout_config: {request_timeout: 300}
"""
NODE = """\
nodes:
  short_node:
    type: llm_node
    config: {llm_group: fast_group.echelon2, system_prompt: "Answer in one word.", max_tokens: 8}
"""
TARGETS = ("fast_group.echelon1", "fast_group.echelon2", "pool.all_pool", "node.short_node")
JOBS = 32
ANSWER_S = 600.0


@pytest.fixture
def client(address: Address, tmp_path: Path) -> Iterator[Client]:
    """A client of a cluster of one worker, whose only instance is the real model."""
    for name, text in (("llms/groups/_task_groups", GROUPS), ("llms/real-model", MODEL), ("workflows/test", NODE)):
        file = tmp_path / "configs" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    configuration = load(tmp_path / "configs").configuration
    ledger = Ledger(address)
    revisions.publish(ledger, configuration)
    ledger.close()
    worker = start_worker(address, tmp_path / "w.log", slots=8, ECHELON_PROVIDERS="echelon_workers.providers:Providers")
    with Client(address.url, namespace=address.namespace) as client:
        yield client
    assert worker.stop(timeout_s=60) == 0
    assert "Traceback" not in worker.output(), worker.output()


def test_every_job_of_every_kind_of_target_is_answered_by_the_real_model(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    jobs = client.submit_many(
        {"target": TARGETS[i % len(TARGETS)], "prompt": f"Name a city that begins with {'ABCDEFGH'[i % 8]}."}
        for i in range(JOBS)
    )
    answers = [client.result(job, ANSWER_S) for job in jobs]
    took_s = time.monotonic() - began
    tokens = sum(answer.usage.output_tokens for answer in answers)
    with capsys.disabled():
        print(f"\nreal model: {JOBS} jobs, {len(answers)} answered, {took_s:.1f} s, {tokens} tokens")
    for answer in answers:
        assert answer.instance == "real-model"
        assert answer.usage.input_tokens > 0
        assert 0 < answer.usage.output_tokens <= 16
        assert answer.finish_reason in ("stop", "length")
    assert {client.status(job).attempts for job in jobs} == {1}


def test_the_real_model_answers_by_the_schema_that_was_asked_for(client: Client) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "place", "schema": schema, "strict": True}}
    job = client.submit("model.real-model", "A city?", response_format=wanted)
    assert json.loads(client.result(job, ANSWER_S).text)["city"] in ("Paris", "Rome")
