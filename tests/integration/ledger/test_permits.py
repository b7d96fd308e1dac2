"""Limits hold at every level whatever happens: a state machine against the plain models of `limits/`.

Redis' clock cannot be set, so time passes here by making everything that the ledger remembers older. The models run on
the ledger's own clock (`Taken.now_ms`) plus what has passed so, to the millisecond: what is granted must be lawful for
them, and what is not granted must not be.
"""

import math
import secrets
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from echelon_configs import Configuration, load
from echelon_workers.ledger import revisions
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger
from echelon_workers.ledger.limits import ALGORITHMS, Algorithm, Meter
from echelon_workers.ledger.plan import plan_of
from echelon_workers.ledger.probing import EndedProbe, end_probes, pay_probe, start_probes
from echelon_workers.ledger.verbs import Finish, Grant, NewJob, Settlement, Terms, finish, renew, settle, submit, take

TERMS = Terms(lease_ms=10**9, poison=10**6)
CLUSTER = """\
task_groups:
  a_group:
    echelon1:
      {{models: [openai-one, openai-two], concurrency_limit: {limit}, rpm_limit: {rpm}, max_tokens: 40,
        rotation_strategy: weighted}}
    echelon2: {{models: [openai-two], concurrency_limit: 2, tpm_limit: 300, max_tokens: 60}}
    fallback_strategy: echelon_down
polling_pools:
  all_pool:
    task_groups: [a_group]
    rotation_strategy: {rotation}
    rate_limiting: {{enabled: true, algorithm: token_bucket, bucket_size: 4, refill_rate: {refill}}}
concurrency_control:
  enabled: true
  levels:
    - group_level: {{limit: 4}}
    - model_level: {{limit: 3}}
rate_limiting:
  enabled: true
  estimate: {estimate}
  algorithm: sliding_window
  sliding_window: {{window_size: 30, max_requests: 9}}
"""
NODES = "nodes:\n  slow_node: {type: llm_node, config: {llm_group: a_group.echelon1}, concurrency_config: {limit: 1}}\n"
QUEUES = ("a_group.echelon1", "a_group.echelon2", "pool.all_pool")
#: Two configurations that take turns: limits lowered and raised while everything runs.
TURNS = (
    {"limit": 3, "rpm": 6, "refill": 0.1, "estimate": "typical", "rotation": "least_recently_used"},
    {"limit": 2, "rpm": 4, "refill": 0.2, "estimate": "worst_case", "rotation": "round_robin"},
)


def configuration(folder: Path, **values: object) -> Configuration:
    (folder / "llms" / "groups").mkdir(parents=True)
    (folder / "workflows").mkdir()
    (folder / "llms" / "groups" / "_task_groups.yaml").write_text(CLUSTER.format(**values))
    (folder / "workflows" / "nodes.yaml").write_text(NODES)
    return load(folder).configuration


class Scope:
    """The plain model of one scope: what runs, and its rates."""

    def __init__(self) -> None:
        self.running: set[tuple[str, str]] = set()
        self.limit = math.inf
        self.rates: dict[tuple[str, str], Algorithm] = {}

    def configure(self, fields: dict[str, str]) -> None:
        """A revision: other sizes, the same state."""
        self.limit = int(fields.get("cl", 0)) or math.inf
        rates = {}
        for text in fields.get("meters", "").split(";")[:-1]:
            meter = Meter.parse(text)
            key = (meter.algorithm, "log" if meter.algorithm == "sliding_window" and meter.span > 60_000 else "")
            rate = self.rates.get(key) or ALGORITHMS[meter.algorithm](meter)
            rate.meter = meter
            rates[key] = rate
        self.rates = rates

    def allows(self, now: float, tokens: float) -> bool:
        amounts = {"requests": 1.0, "tokens": tokens}
        rates = self.rates.values()
        return len(self.running) < self.limit and all(
            rate.open_at(amounts[rate.meter.unit], now) <= now + 0.01 for rate in rates
        )

    def start(self, lease: tuple[str, str], now: float, tokens: float) -> None:
        self.running.add(lease)
        for rate in self.rates.values():
            rate.use(tokens if rate.meter.unit == "tokens" else 1, now)

    def unused(self, now: float) -> None:
        """The last request of this moment is as if it had never been."""
        for rate in self.rates.values():
            if hasattr(rate, "starts") and now in rate.starts:
                rate.starts.remove(now)
            elif hasattr(rate, "level"):
                rate.level = min(rate.meter.size, rate.level + 1)

    def settle(self, granted: float, reserved: float, actual: float) -> None:
        for rate in self.rates.values():
            if hasattr(rate, "settle"):
                rate.settle(granted, reserved, actual)


class Permits(RuleBasedStateMachine):
    """Submits, takes by two workers, lost replies, ends of all kinds, health probes, revisions, and time."""

    url = ""
    configurations: tuple[Configuration, ...]
    grants: Bundle[Grant] = Bundle("grants")

    @initialize()
    def start(self) -> None:
        self.ledger = Ledger(Address(self.url, f"t{secrets.token_hex(4)}"))
        self.scopes: dict[str, Scope] = {}
        self.shifted = 0
        self.turn = 0
        self.publish()
        members = {name: queue.members for name, queue in self.configuration.queues.items()}
        self.instances = {name: ",".join(dict.fromkeys(m.instance for m in members[name])) for name in QUEUES}
        self.waiting: dict[str, tuple[str, str]] = {}
        self.running: dict[str, tuple[Grant, float, int]] = {}
        self.sizes: dict[str, tuple[int, int, int]] = {}
        self.answers: dict[str, tuple[int, float, float]] = {}
        self.sequence, self.claimed = Counter[str](), Counter[str]()
        self.jobs = 0

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.ledger.close()

    @property
    def configuration(self) -> Configuration:
        return self.configurations[self.turn]

    def publish(self) -> None:
        revisions.publish(self.ledger, self.configuration)
        limits = plan_of(self.configuration).scopes
        for name in {*self.scopes, *limits}:
            self.scope(name).configure(limits.get(name, {}))

    def scope(self, name: str) -> Scope:
        return self.scopes.setdefault(name, Scope())

    @rule()
    def a_revision_is_published(self) -> None:
        self.turn = 1 - self.turn
        self.publish()

    @rule(
        queue=st.sampled_from(QUEUES),
        node=st.sampled_from(["", "", "slow_node"]),
        many=st.integers(1, 4),
        size=st.tuples(st.integers(1, 120), st.integers(0, 120), st.sampled_from([0, 10, 90])),
    )
    def submit(self, queue: str, node: str, many: int, size: tuple[int, int, int]) -> None:
        new = [f"j{self.jobs + i}" for i in range(many)]
        self.jobs += many
        tokens: dict[str, Any] = {"input_tokens": size[0], "worst_input_tokens": sum(size[:2]), "max_tokens": size[2]}
        jobs = [NewJob(id=id, queue=queue, node=node, request="{}", target=queue, **tokens) for id in new]
        self.ledger.run(submit(jobs))
        self.waiting |= dict.fromkeys(new, (queue, node))
        self.sizes |= dict.fromkeys(new, (size[0], sum(size[:2]), size[2]))

    def scopes_of(self, queue: str, instance: str, home: str, node: str) -> list[str]:
        scopes = ["cluster:", f"model:{instance}", f"group:{home.partition('.')[0]}", f"echelon:{home}"]
        scopes += [f"pool:{queue[5:]}"] * queue.startswith("pool.")
        return scopes + [f"node:{node}"] * bool(node)

    def reservation(self, id: str, instance: str, home: str, names: list[str]) -> int:
        """The rule in plain words: input and answer; the answer no longer than this instance's have been."""
        typical, worst, stated = self.sizes[id]
        rates = [rate for name in names for rate in self.scope(name).rates.values()]
        most = min((rate.meter.size for rate in rates if rate.meter.unit == "tokens"), default=None)
        if most is None:
            return 0
        cap = stated or self.configuration.settings_of(home, instance).max_tokens
        if self.configuration.rate_limiting.estimate == "worst_case":
            return worst + cap
        count, mean, deviation = self.answers.get(instance, (0, 0.0, 0.0))
        usual = math.ceil(round(mean, 2) + 4 * round(deviation, 2)) if count >= 8 else math.inf
        return int(max(typical + 1, min(most, typical + min(cap, usual))))

    @rule(target=grants, worker=st.sampled_from(["w1", "w2"]), want=st.integers(1, 6), turn=st.integers(0, 2))
    def take(self, worker: str, want: int, turn: int) -> object:
        self.sequence[worker] += 1
        grants = self.taken(worker, want, turn)
        self.claimed[worker] = self.sequence[worker]
        if len(grants) < want:
            self.nothing_lawful_was_left()
        return multiple(*grants)

    @rule(worker=st.sampled_from(["w1", "w2"]), want=st.integers(1, 6), turn=st.integers(0, 2))
    def a_reply_is_lost_and_the_next_take_gives_back(self, worker: str, want: int, turn: int) -> None:
        self.sequence[worker] += 1
        lost = self.taken(worker, want, turn)
        self.sequence[worker] += 1
        now = self.taken(worker, 0, turn)
        assert not now
        for grant in lost:
            self.back(grant, unused=True)

    @rule(target=grants, worker=st.sampled_from(["w1", "w2"]), want=st.integers(1, 6), turn=st.integers(0, 2))
    def a_reply_is_lost_and_the_take_repeated(self, worker: str, want: int, turn: int) -> object:
        self.sequence[worker] += 1
        lost = self.taken(worker, want, turn)
        again = self.call(worker, want, turn).grants
        self.claimed[worker] = self.sequence[worker]
        assert [(grant.id, grant.lease) for grant in again] == [(grant.id, grant.lease) for grant in lost]
        return multiple(*lost)

    def call(self, worker: str, want: int, turn: int) -> Any:
        queues = [(queue, self.instances[queue]) for queue in (*QUEUES[turn:], *QUEUES[:turn])]
        self.ledger.redis.delete(self.ledger.keys.of("blocked"))  # marks only save work; their time is real time
        sequence, claimed = self.sequence[worker], self.claimed[worker]
        return self.ledger.run(take(worker, sequence, claimed, queues, want=want, fills=False, terms=TERMS))

    def taken(self, worker: str, want: int, turn: int) -> list[Grant]:
        taken = self.call(worker, want, turn)
        self.now = taken.now_ms + self.shifted
        for grant in taken.grants:
            names = self.scopes_of(grant.queue, grant.instance, grant.home, grant.node)
            tokens = self.reservation(grant.id, grant.instance, grant.home, names)
            for name in names:
                assert self.scope(name).allows(self.now, tokens), f"{grant.id} was granted against {name}"
            for name in names:
                self.scope(name).start((grant.id, grant.lease), self.now, tokens)
            del self.waiting[grant.id]
            self.running[grant.id] = (grant, self.now, tokens)
        return list(taken.grants)

    def nothing_lawful_was_left(self) -> None:
        """The other half of exactness: the first of each queue that was not granted could not have been."""
        keys, redis = self.ledger.keys, self.ledger.redis
        for queue in QUEUES:
            for id in reversed([id.decode() for id in redis.lrange(keys.queue(queue), 0, -1)]):
                node = self.waiting[id][1]
                for member in self.configuration.queues[queue].members:
                    names = self.scopes_of(queue, member.instance, member.home, node)
                    tokens = self.reservation(id, member.instance, member.home, names)
                    # The take looked a moment earlier than this.
                    closed = [name for name in names if not self.scope(name).allows(self.now, tokens)]
                    assert closed, f"{id} of {queue} could have gone to {member.instance}"
                break

    def back(self, grant: Grant, *, unused: bool = False, tokens: int | None = None, stays: bool = True) -> None:
        _, granted, reserved = self.running.pop(grant.id)
        for name in self.scopes_of(grant.queue, grant.instance, grant.home, grant.node):
            scope = self.scope(name)
            scope.running.discard((grant.id, grant.lease))
            if unused:
                scope.unused(granted)
                scope.settle(granted, reserved, 0)
            elif tokens is not None and reserved:
                scope.settle(granted, reserved, tokens)
        if stays:
            self.waiting[grant.id] = (grant.queue, grant.node)

    @rule(
        grant=consumes(grants),
        how=st.sampled_from(["answer", "retry", "return", "unused", "cancel"]),
        used=st.sampled_from([None, 0, 5, 70, 400]),
        times=st.integers(1, 2),
    )
    def end(self, grant: Grant, how: str, used: int | None, times: int) -> None:
        held = grant.id in self.running and self.running[grant.id][0].lease == grant.lease
        for _ in range(times):
            if how in ("answer", "retry"):
                values: dict[str, Any] = {"payload": "{}", "entry": "{}", "retention_ms": 10**6}
                values |= {"counted_tokens": used, "output_tokens": used or 0}
                self.ledger.run(finish(Finish(id=grant.id, lease=grant.lease, decision=how, **values)))  # type: ignore[arg-type]
            else:
                self.ledger.run(settle([Settlement(id=grant.id, lease=grant.lease, ending=how)], TERMS))  # type: ignore[arg-type]
        if not held:
            return
        if how == "answer" and used:
            self.learn(grant.instance, used)
        tokens = used if how in ("answer", "retry") else None
        self.back(grant, unused=how == "unused", tokens=tokens, stays=how in ("retry", "return", "unused"))

    def learn(self, instance: str, tokens: int) -> None:
        count, mean, deviation = self.answers.get(instance, (0, float(tokens), tokens / 2))
        deviation = round(deviation + (abs(tokens - mean) - deviation) / 4, 2)
        self.answers[instance] = (count + 1, round(mean + (tokens - mean) / 8, 2), deviation)

    @rule(instance=st.sampled_from(["openai-one", "openai-two"]), how=st.sampled_from(["ok", "", "unused", "lapse"]))
    def a_probe_is_made(self, instance: str, how: str) -> None:
        keys, redis = self.ledger.keys, self.ledger.redis
        redis.hset(keys.of("scope", f"model:{instance}"), "bf", 1)  # so that it has to be a paid one
        redis.zadd(keys.of("checks"), {instance: 1})
        scopes = [self.scope("cluster:"), self.scope(f"model:{instance}")]
        begun = self.ledger.run(start_probes({instance: 1}, lease_ms=10**6))
        assert bool(begun.probes) == all(len(scope.running) < scope.limit for scope in scopes)
        if not begun.probes:
            return
        paid = self.ledger.run(pay_probe(begun.probes[0], lease_ms=10**6, tokens=32))
        now = int(redis.get(keys.of("clock")) or 0) + self.shifted
        assert (paid is not None) == all(scope.allows(now, 0) for scope in scopes)
        if paid is None:
            return
        for scope in scopes:
            scope.start(("probe", paid.fence), now, 0)
        if how == "lapse":
            redis.zadd(keys.of("probing"), {instance: 1})
            self.ledger.run(renew("reaper", "{}", 1000, [], TERMS))
        else:
            ended = EndedProbe(instance=instance, fence=paid.fence, verdict=how, code="")  # type: ignore[arg-type]
            self.ledger.run(end_probes([ended]))
        for scope in scopes:
            scope.running.discard(("probe", paid.fence))
            if how == "unused":
                scope.unused(now)

    @rule()
    def all_leases_lapse(self) -> None:
        keys, redis = self.ledger.keys, self.ledger.redis
        for id in redis.zrange(keys.of("running"), 0, -1):
            redis.zadd(keys.of("running"), {id: 1})
        self.ledger.run(renew("reaper", "{}", 1000, [], TERMS))
        for grant, _, _ in list(self.running.values()):
            self.back(grant)

    @rule(seconds=st.sampled_from([1, 5, 20, 31, 61]))
    def time_passes(self, seconds: int) -> None:
        keys, redis = self.ledger.keys, self.ledger.redis
        self.shifted += seconds * 1000
        older = -seconds * 1000
        for name in redis.keys(keys.of("log", "*")):
            times = [int(at) + older for at in redis.lrange(name, 0, -1)]
            redis.delete(name)
            redis.rpush(name, *times)
        for name in redis.keys(keys.of("tokens", "*")):
            for entry, _ in redis.zrange(name, 0, -1, withscores=True):
                redis.zincrby(name, older, entry)
        for name in redis.keys(keys.of("scope", "*")):
            if at := redis.hget(name, "rt"):
                redis.hset(name, "rt", int(at) + older)
        for name in redis.keys(keys.of("job", "*")):
            if at := redis.hget(name, "started"):
                redis.hset(name, "started", int(at) + older)
        for name in (keys.of("parks"), keys.of("delayed")):
            places = redis.zrange(name, 0, -1)
            if places:
                redis.zadd(name, dict.fromkeys(places, 1))

    @invariant()
    def what_is_in_use_is_what_runs(self) -> None:
        if not hasattr(self, "ledger"):
            return
        keys, redis = self.ledger.keys, self.ledger.redis
        for name in redis.keys(keys.of("scope", "*")):
            scope = name.decode().removeprefix(keys.of("scope"))
            assert int(redis.hget(name, "cu") or 0) == len(self.scope(scope).running), scope

    @invariant()
    def every_waiting_job_is_in_one_place(self) -> None:
        if not hasattr(self, "ledger"):
            return
        keys, redis = self.ledger.keys, self.ledger.redis
        found = [id for queue in QUEUES for id in redis.lrange(keys.queue(queue), 0, -1)]
        found += [id for name in redis.keys(keys.of("parked", "*")) for id in redis.zrange(name, 0, -1)]
        at_node = sum(self.waiting[id.decode()][1] != "" for id in found)
        assert int(redis.hget(keys.of("counts"), "waiting:node:slow_node") or 0) == at_node
        found += redis.zrange(keys.of("delayed"), 0, -1)  # too large for a limit that was lowered
        assert sorted(id.decode() for id in found) == sorted(self.waiting)


@pytest.fixture(autouse=True, scope="module")
def _cluster(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    Permits.url = redis_url
    folder = tmp_path_factory.mktemp("permits")
    Permits.configurations = tuple(configuration(folder / str(i), **values) for i, values in enumerate(TURNS))


class TestPermits(Permits.TestCase):  # type: ignore[name-defined,misc]
    """Run by pytest."""

    settings = settings(
        max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
