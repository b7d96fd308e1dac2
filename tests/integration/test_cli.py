"""The commands that talk to Redis, against a real server; jobs are answered by hand."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from byhand import Hands, answering, limited, publish
from click.testing import CliRunner, Result

from echelon_configs import Limits
from echelon_producers.cli.batch.lines import job_id
from echelon_producers.cli.program import program
from echelon_producers.client import Client
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.verbs import Grant, Order

Invoke = Callable[..., Result]


@pytest.fixture
def invoke(address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Runs a command in an empty folder, against the tests' server."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ECHELON_REDIS_URL", address.url)
    monkeypatch.setenv("ECHELON_NAMESPACE", address.namespace)
    publish(address)

    def run(*arguments: str, stdin: bytes = b"") -> Result:
        return CliRunner().invoke(program, arguments, input=stdin)

    return run


@contextmanager
def handling(address: Address, handle: Callable[[Hands, Grant], None]) -> Iterator[None]:
    """While this holds, every job is handled so."""
    stop = threading.Event()

    def work() -> None:
        with Hands(address) as hands:
            while not stop.wait(0.01):
                for grant in hands.take():
                    handle(hands, grant)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def drain(address: Address, order: Order) -> None:
    with Client(address.url, namespace=address.namespace) as client:
        client.steer(order, ["fast_group.echelon1"])


def write(path: Path, *lines: Any) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# echelon submit


def test_submit_prints_the_id_of_the_job(invoke: Invoke, address: Address) -> None:
    result = invoke(
        *("submit", "fast_group", "hi", "--system", "Be brief.", "--max-tokens", "9", "--temperature", "0.5"),
        *("--priority", "7", "--deadline", "60", "--node", "summary", "--id", "mine"),
    )
    assert (result.exit_code, result.stdout, result.stderr) == (0, "mine\n", "")
    with Client(address.url, namespace=address.namespace) as client:
        record = client.status("mine")
    assert (record.queue, record.node, record.priority) == ("fast_group.echelon1", "summary", 7)
    assert record.deadline_ms - record.created_ms == 60_000
    with Hands(address) as hands:
        (grant,) = hands.take()
    assert json.loads(grant.request) == {"prompt": "hi", "system": "Be brief.", "max_tokens": 9, "temperature": 0.5}


@pytest.mark.parametrize("prompt", [(), ("-",)])
def test_submit_reads_the_prompt_from_standard_input(invoke: Invoke, address: Address, prompt: tuple[str, ...]) -> None:
    with answering(address):
        result = invoke("submit", "fast_group", *prompt, "--wait", stdin="grüß dich\n".encode())
    assert result.stdout == "answer to: grüß dich\n\n"


@pytest.mark.parametrize(("stdin", "said"), [(b"", "is empty"), (b" \n", "is empty"), (b"\xff", "not UTF-8")])
def test_submit_without_a_prompt_is_wrong_input(invoke: Invoke, stdin: bytes, said: str) -> None:
    result = invoke("submit", "fast_group", stdin=stdin)
    assert result.exit_code == 2
    assert said in result.stderr


def test_submit_waits_and_says_when_nobody_works(invoke: Invoke, address: Address) -> None:
    with answering(address):
        result = invoke("submit", "fast_group", "hi", "--wait", "--json")
    assert result.exit_code == 0
    record = json.loads(result.stdout)
    assert (record["state"], record["answer"]["text"]) == ("answered", "answer to: hi")
    assert result.stderr.startswith("echelon: no worker is running: job ")
    assert json.loads(invoke("submit", "fast_group", "hi", "--json", "--id", "x").stdout) == {"id": "x"}


def test_submit_of_a_job_that_dies_tells_every_attempt(invoke: Invoke, address: Address) -> None:
    with Hands(address) as hands:
        hands.beat()

    def fail(hands: Hands, grant: Grant) -> None:
        if grant.attempts < 1:
            hands.retry(grant)
        else:
            hands.bury(grant, "HTTP 503")

    with handling(address, fail):
        result = invoke("submit", "fast_group", "hi", "--wait", "--id", "mine")
        as_json = invoke("submit", "fast_group", "hi", "--wait", "--id", "mine", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    first, second, last = result.stderr.splitlines()
    assert first.startswith("attempt 1: ")
    assert second.startswith("attempt 2: ")
    assert last == "echelon: job mine is dead: HTTP 503"
    assert as_json.exit_code == 1
    assert json.loads(as_json.stdout)["state"] == "dead"


def test_submit_of_another_job_under_an_id_is_wrong_input(invoke: Invoke) -> None:
    for _ in range(2):
        assert invoke("submit", "fast_group", "hello", "--id", "order-7").stdout == "order-7\n"
    result = invoke("submit", "fast_group", "something else", "--id", "order-7")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("echelon: the id order-7 is that of another job, with another target, ")
    assert result.stderr.count("\n") == 1


def test_submit_to_a_draining_queue_is_wrong_input(invoke: Invoke, address: Address) -> None:
    drain(address, "drain")
    result = invoke("submit", "fast_group", "hello")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(
        "echelon: queue fast_group.echelon1 is being drained and takes no new jobs (would be"
    )
    drain(address, "resume")
    assert invoke("submit", "fast_group", "hello").exit_code == 0


def test_submit_waits_no_longer_than_it_is_told(invoke: Invoke) -> None:
    result = invoke("submit", "fast_group", "hi", "--wait", "--timeout", "0.2", "--id", "mine")
    assert result.exit_code == 1
    assert "job mine is queued after 0.2 s; it is still on its way" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("fast_grup", "hi"), "did you mean fast_group?"),
        (("fast_group", "hi", "--node", "sumary"), "did you mean node.summary?"),
        (("fast_group", "hi", "--id", "no spaces"), "id: not usable"),
        (("fast_group", "hi", "--priority", "11"), "11"),
        (("fast_group", "hi", "--deadline", "0"), "--deadline"),
    ],
)
def test_submit_refuses_what_is_wrong(invoke: Invoke, arguments: tuple[str, ...], said: str) -> None:
    result = invoke("submit", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


# echelon run


def test_run_answers_a_whole_file_and_goes_on_from_it(invoke: Invoke, address: Address, tmp_path: Path) -> None:
    source = write(
        tmp_path / "in.jsonl",
        {"prompt": "one"},
        "not json",
        {"custom_id": "two", "messages": [{"role": "user", "content": "two"}], "target": "plan_group"},
        {"prompt": "three", "target": "nowhere"},
        "",
        {"custom_id": "b", "url": "/v1/chat/completions", "body": {"messages": [{"role": "user", "content": "four"}]}},
    )
    out = tmp_path / "out.jsonl"
    arguments = ("run", str(source), "--out", str(out), "--target", "fast_group", "--json")
    with answering(address):
        first = invoke(*arguments)
        again = invoke(*arguments)
    assert first.exit_code == 1
    totals = json.loads(first.stdout)
    assert (totals["answered"], totals["failed"], totals["wrong_lines"]) == (3, 0, 2)
    assert (totals["input_tokens"], totals["output_tokens"], totals["cost_usd"]) == (9, 15, "0.003")
    assert f"{source}: line 2: not JSON" in first.stderr
    assert f"{source}: line 4: target: there is no target 'nowhere'" in first.stderr
    answers = {line["custom_id"]: line["response"]["body"]["choices"][0]["message"]["content"] for line in read(out)}
    assert answers == {"line-1": "answer to: one", "two": "answer to: two", "b": "answer to: four"}
    assert all(len(line["attempts"]) == 1 for line in read(out))
    totals = json.loads(again.stdout)
    assert (totals["answered"], totals["answered_before"]) == (0, 3)
    assert len(read(out)) == 3


def test_a_run_that_was_cut_goes_on_without_asking_twice(invoke: Invoke, address: Address, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", *({"prompt": f"number {i}"} for i in range(20)))
    out = tmp_path / "out.jsonl"
    arguments = ("run", str(source), "--out", str(out), "--target", "fast_group", "--json")
    cut = invoke(*arguments, "--timeout", "0.3")
    assert cut.exit_code == 1
    assert "20 jobs are still on their way; the same command again goes on from here" in cut.stderr
    taken: list[str] = []

    def answer(hands: Hands, grant: Grant) -> None:
        taken.append(grant.id)
        hands.answer(grant)

    with handling(address, answer):
        done = invoke(*arguments)
        kept = out.read_bytes().splitlines(keepends=True)
        out.write_bytes(b"".join(kept[:7]) + kept[7][:40])
        again = invoke(*arguments)
    assert done.exit_code == again.exit_code == 0
    assert json.loads(again.stdout)["answered_before"] == 7
    assert sorted(line["custom_id"] for line in read(out)) == sorted(f"line-{i}" for i in range(1, 21))
    assert len(taken) == len(set(taken)) == 20


def test_a_line_that_failed_is_tried_again_by_the_next_run(invoke: Invoke, address: Address, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", {"prompt": "good"}, {"prompt": "bad"})
    out = tmp_path / "out.jsonl"
    arguments = ("run", str(source), "--out", str(out), "--target", "fast_group")

    def fail_bad(hands: Hands, grant: Grant) -> None:
        if b"bad" in grant.request:
            hands.bury(grant, "HTTP 503")
        else:
            hands.answer(grant)

    with handling(address, fail_bad):
        first = invoke(*arguments)
        second = invoke(*arguments)
    for result in (first, second):
        assert result.exit_code == 1
        assert "is dead: HTTP 503" in result.stderr
        assert "echelon: failed lines: 1, wrong lines: 0" in result.stderr
    assert [line["error"]["code"] for line in read(out) if line["error"]] == ["server_failed"]
    with answering(address):
        third = invoke(*arguments)
    assert third.exit_code == 0
    assert "1 answered (and 1 before), 0 failed" in third.stdout
    assert [line["error"] for line in read(out)] == [None, None]


def test_run_keeps_few_jobs_under_way(invoke: Invoke, address: Address, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", *({"prompt": f"number {i}"} for i in range(50)))
    seen: list[int] = []

    def answer(hands: Hands, grant: Grant) -> None:
        seen.append(int(hands.ledger.redis.llen(hands.ledger.keys.queue("fast_group.echelon1"))))  # type: ignore[arg-type]
        hands.answer(grant)

    with handling(address, answer):
        arguments = ("--out", str(tmp_path / "out.jsonl"), "--target", "fast_group", "--in-flight", "5")
        result = invoke("run", str(source), *arguments)
    assert result.exit_code == 0
    assert len(seen) == 50
    assert max(seen) <= 5


def test_run_never_overwrites_its_input(invoke: Invoke, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", {"prompt": "x"})
    result = invoke("run", str(source), "--out", str(source), "--target", "fast_group")
    assert result.exit_code == 2
    assert read(source) == [{"prompt": "x"}]


@pytest.mark.parametrize("queue_size", [1, 4])
def test_run_waits_for_room_in_a_full_queue(invoke: Invoke, address: Address, tmp_path: Path, queue_size: int) -> None:
    publish(address, limited(Limits(queue_size=queue_size)))
    source = write(tmp_path / "in.jsonl", *({"prompt": f"number {i}"} for i in range(30)))
    waited: list[int] = []

    def answer(hands: Hands, grant: Grant) -> None:
        waited.append(int(hands.ledger.redis.llen(hands.ledger.keys.queue("fast_group.echelon1"))))  # type: ignore[arg-type]
        hands.answer(grant)

    with handling(address, answer):
        result = invoke("run", str(source), "--out", str(tmp_path / "out.jsonl"), "--target", "fast_group")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "30 answered, 0 failed" in result.stdout
    assert len(read(tmp_path / "out.jsonl")) == len(waited) == 30
    assert max(waited) <= queue_size


def test_run_stops_when_its_queue_is_drained_and_goes_on_afterwards(
    invoke: Invoke, address: Address, tmp_path: Path
) -> None:
    source = write(tmp_path / "in.jsonl", *({"prompt": f"number {i}"} for i in range(40)))
    arguments = ("run", str(source), "--out", str(tmp_path / "out.jsonl"), "--target", "fast_group", "--in-flight", "5")
    called: list[str] = []

    def answer(hands: Hands, grant: Grant) -> None:
        called.append(grant.id)
        if len(called) == 10:
            drain(address, "drain")
        hands.answer(grant)

    with handling(address, answer):
        stopped = invoke(*arguments)
        assert stopped.exit_code == 2
        assert "jobs are still on their way; the same command again goes on from here" in stopped.stderr
        assert "echelon: queue fast_group.echelon1 is being drained and takes no new jobs" in stopped.stderr
        assert " answered, 0 failed, 0 wrong lines" in stopped.stdout
        drain(address, "resume")
        again = invoke(*arguments)
    assert (again.exit_code, len(called), len(set(called))) == (0, 40, 40)
    assert len(read(tmp_path / "out.jsonl")) == 40


def test_run_stops_at_a_line_whose_id_is_another_jobs(invoke: Invoke, address: Address, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", {"prompt": "hello"})
    line = (source.read_bytes(), 1, "line-1", "fast_group")
    with Client(address.url, namespace=address.namespace) as client:
        client.submit("fast_group", "something else", id=job_id(*line))
    result = invoke("run", str(source), "--out", str(tmp_path / "out.jsonl"), "--target", "fast_group")
    assert result.exit_code == 2
    assert f"echelon: the id {job_id(*line)} is that of another job" in result.stderr


def test_a_line_tried_again_waits_for_room_too(invoke: Invoke, address: Address, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", *({"prompt": f"number {i}"} for i in range(6)))
    arguments = ("run", str(source), "--out", str(tmp_path / "out.jsonl"), "--target", "fast_group")
    with handling(address, lambda hands, grant: hands.bury(grant)):
        assert invoke(*arguments).exit_code == 1
    publish(address, limited(Limits(queue_size=2)))
    with answering(address):
        again = invoke(*arguments)
    assert again.exit_code == 0
    assert "6 answered, 0 failed" in again.stdout


# echelon status, echelon config publish, echelon worker


def test_status_prints_a_table_or_one_document(invoke: Invoke, address: Address) -> None:
    with Hands(address) as hands:
        hands.beat()
        invoke("submit", "fast_group", "hi")
        table, document = invoke("status"), invoke("status", "--json")
        everything = invoke("status", "--all")
    assert document.exit_code == table.exit_code == 0
    status = json.loads(document.stdout)
    assert status["revision"] == 1
    assert {queue["name"]: queue["waiting"] for queue in status["queues"]}["fast_group.echelon1"] == 1
    assert [worker["name"] for worker in status["workers"]] == ["by-hand"]
    rows = [line.split() for line in table.stdout.splitlines()]
    assert ["fast_group.echelon1", "1", "0", "0", "0", "0.0000", "1"] in rows
    assert any(row[:3] == ["by-hand@host", "1", "4"] for row in rows)
    assert "plan_group.echelon1" not in table.stdout
    assert "plan_group.echelon1" in everything.stdout


def test_status_shows_limits_that_are_in_use_and_what_waits_for_them(invoke: Invoke, address: Address) -> None:
    publish(address, limited(Limits(concurrency=1, queue_size=9, requests_per_minute=60)))
    with Hands(address) as hands:
        invoke("submit", "fast_group", "one")
        invoke("submit", "fast_group", "two")
        idle = invoke("status")
        hands.take()
        table, everything = invoke("status"), invoke("status", "--all")
        scopes = json.loads(invoke("status", "--json").stdout)["scopes"]
    assert "waits for" not in idle.stdout
    assert re.search(
        r"^fast_group.echelon1 .* waits for echelon fast_group.echelon1, \d+ s so far$", table.stdout, re.M
    )
    assert re.search(
        r"^echelon fast_group.echelon1 +1 of 1 +1 of 9 1 of 60 requests a minute +when one ends$", table.stdout, re.M
    )
    assert "plan_group" not in table.stdout
    assert [scope["in_use"] for scope in scopes if scope["name"] == "fast_group.echelon1"] == [1]
    assert everything.stdout.count("limit of") == 1


def test_submit_to_a_full_queue_fails_in_one_line(invoke: Invoke, address: Address) -> None:
    publish(address, limited(Limits(queue_size=1)))
    assert invoke("submit", "fast_group", "one").exit_code == 0
    result = invoke("submit", "fast_group", "two")
    assert (result.exit_code, result.stdout) == (1, "")
    assert re.fullmatch(
        r"echelon: echelon fast_group.echelon1 is full: 1 jobs wait there, 1 may "
        r"\(would be right: try again in \d+\.\d s\)\n",
        result.stderr,
    )


GROUPS = "task_groups:\n  fast_group:\n    echelon1: {models: [openai-gpt4], priority: 1}\n"


def configs(folder: Path) -> None:
    groups = folder / "configs" / "llms" / "groups"
    groups.mkdir(parents=True)
    (groups / "_task_groups.yaml").write_text(GROUPS)


def test_publishing_the_same_configuration_again_is_the_same_revision(invoke: Invoke, tmp_path: Path) -> None:
    configs(tmp_path)
    first, again = invoke("config", "publish"), invoke("config", "publish", "--json")
    assert first.stdout.startswith("revision 2 is in force (")
    assert json.loads(again.stdout)["revision"] == 2


def test_a_worker_for_an_unknown_queue_is_wrong_input(invoke: Invoke) -> None:
    result = invoke("worker", "fast_group.echelon9", "plan_group")
    assert result.exit_code == 2
    near, target = result.stderr.splitlines()
    assert near.startswith("echelon: there is no queue 'fast_group.echelon9' (did you mean fast_group.echelon")
    assert target == "echelon: plan_group is a target, not a queue (would be right: plan_group.echelon1)"


def test_a_worker_says_when_the_files_differ_from_what_is_in_force(invoke: Invoke, tmp_path: Path) -> None:
    configs(tmp_path)
    result = invoke("worker", "nowhere.at_all")
    assert "echelon: configs differs from revision 1, which is in force" in result.stderr
    assert "(to put it in force: echelon config publish)" in result.stderr
    invoke("config", "publish")
    assert "differs" not in invoke("worker", "nowhere.at_all").stderr


def test_a_worker_publishes_where_nothing_is(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str
) -> None:
    configs(tmp_path)
    monkeypatch.setenv("ECHELON_NAMESPACE", f"{namespace}-other")
    result = invoke("worker", "nowhere.at_all")
    assert "nothing was published here: configs is in force now, as revision 1" in result.stderr
