"""Limits hold at every level whatever happens: a state machine against a plain model of windows and permits.

Redis' clock cannot be set, so time passes here by making everything that the ledger remembers older.
"""

import secrets
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from echelon_configs import Configuration, load
from echelon_workers.ledger import revisions
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger
from echelon_workers.ledger.plan import plan_of
from echelon_workers.ledger.verbs import Finish, Grant, NewJob, Settlement, Terms, finish, renew, settle, submit, take

TERMS = Terms(lease_ms=10**9, poison=10**6)
CLUSTER = """\
task_groups:
  a_group:
    echelon1: {models: [openai-one, openai-two], concurrency_limit: 3, rpm_limit: 6}
    echelon2: {models: [openai-two], concurrency_limit: 2}
    fallback_strategy: echelon_down
polling_pools:
  all_pool:
    task_groups: [a_group]
    rotation_strategy: round_robin
    rate_limiting: {enabled: true, algorithm: token_bucket, bucket_size: 4, refill_rate: 0.1}
concurrency_control:
  enabled: true
  levels:
    - group_level: {limit: 4}
    - model_level: {limit: 3}
rate_limiting: {enabled: true, algorithm: sliding_window, sliding_window: {window_size: 30, max_requests: 9}}
"""
NODES = "nodes:\n  slow_node: {type: llm_node, config: {llm_group: a_group.echelon1}, concurrency_config: {limit: 1}}\n"
QUEUES = ("a_group.echelon1", "a_group.echelon2", "pool.all_pool")


def configuration(folder: Path) -> Configuration:
    (folder / "llms" / "groups").mkdir(parents=True)
    (folder / "workflows").mkdir()
    (folder / "llms" / "groups" / "_task_groups.yaml").write_text(CLUSTER)
    (folder / "workflows" / "nodes.yaml").write_text(NODES)
    return load(folder).configuration


class Permits(RuleBasedStateMachine):
    """Submits, takes by two workers, finishes, lapses, and time."""

    url = ""
    configuration: Configuration
    grants: Bundle[Grant] = Bundle("grants")

    @initialize()
    def start(self) -> None:
        self.ledger = Ledger(Address(self.url, f"t{secrets.token_hex(4)}"))
        revisions.publish(self.ledger, self.configuration)
        self.limits = plan_of(self.configuration).scopes
        members = {name: queue.members for name, queue in self.configuration.queues.items()}
        self.instances = {name: ",".join(dict.fromkeys(m.instance for m in members[name])) for name in QUEUES}
        self.now = 0.0
        self.waiting: dict[str, tuple[str, str]] = {}
        self.running: dict[str, tuple[str, list[str]]] = {}
        self.starts: dict[str, list[float]] = defaultdict(list)
        self.sequence = Counter[str]()
        self.jobs = 0

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.ledger.close()

    @rule(queue=st.sampled_from(QUEUES), node=st.sampled_from(["", "", "slow_node"]), many=st.integers(1, 4))
    def submit(self, queue: str, node: str, many: int) -> None:
        new = [f"j{self.jobs + i}" for i in range(many)]
        self.jobs += many
        self.ledger.run(submit([NewJob(id=id, queue=queue, node=node, request="{}", target=queue) for id in new]))
        self.waiting |= dict.fromkeys(new, (queue, node))

    def scopes(self, grant: Grant) -> list[str]:
        group = grant.home.partition(".")[0]
        scopes = ["cluster:", f"model:{grant.instance}", f"group:{group}", f"echelon:{grant.home}"]
        scopes += [f"pool:{grant.queue[5:]}"] * grant.queue.startswith("pool.")
        return scopes + [f"node:{grant.node}"] * bool(grant.node)

    @rule(target=grants, worker=st.sampled_from(["w1", "w2"]), want=st.integers(1, 6), turn=st.integers(0, 2))
    def take(self, worker: str, want: int, turn: int) -> object:
        sequence = self.sequence[worker] = self.sequence[worker] + 1
        queues = [(queue, self.instances[queue]) for queue in (*QUEUES[turn:], *QUEUES[:turn])]
        self.ledger.redis.delete(self.ledger.keys.of("blocked"))  # marks only save work; their time is real time
        verb = take(worker, sequence, sequence - 1, queues, want=want, fills=False, terms=TERMS)
        grants = self.ledger.run(verb).grants
        for grant in grants:
            del self.waiting[grant.id]
            self.running[grant.id] = (grant.lease, self.scopes(grant))
            for scope in self.scopes(grant):
                self.starts[scope].append(self.now)
        if len(grants) < want:
            self.nothing_lawful_was_left()
        return multiple(*grants)

    def nothing_lawful_was_left(self) -> None:
        """The other half of exactness: who was not granted could not have been."""
        for queue, node in self.waiting.values():
            for member in self.configuration.queues[queue].members:
                grant = Grant("", queue, "", member.instance, member.home, b"", node, "", 0, 0, 0, False, "", "")
                closed = [scope for scope in self.scopes(grant) if not self.allows(scope)]
                assert closed, f"a job of {queue} could have gone to {member.instance}"

    def used(self, scope: str) -> int:
        return sum(scope in scopes for _, scopes in self.running.values())

    def within(self, scope: str, window_ms: float) -> int:
        return sum(self.now - window_ms < at <= self.now for at in self.starts[scope])

    def bucket(self, scope: str, size: float, refill: float) -> float:
        level, before = size, 0.0
        for at in self.starts[scope]:
            level = min(size, level + (at - before) * refill) - 1
            before = at
        return min(size, level + (self.now - before) * refill)

    def allows(self, scope: str) -> bool:
        limits = {name: float(value) for name, value in self.limits.get(scope, {}).items()}
        if "cl" in limits and self.used(scope) >= limits["cl"]:
            return False
        windows = [("rl", "rw"), ("sl", "sw")]
        # Real milliseconds pass while the machine runs; a moment's doubt is resolved in the ledger's favour.
        if any(n in limits and self.within(scope, limits[ms] + 900) >= limits[n] for n, ms in windows):
            return False
        return "rb" not in limits or self.bucket(scope, limits["rb"], limits["rr"]) >= 1.0

    @rule(grant=consumes(grants), how=st.sampled_from(["answer", "retry", "return", "cancel"]), times=st.integers(1, 2))
    def end(self, grant: Grant, how: str, times: int) -> None:
        held = self.running.get(grant.id, ("", []))[0] == grant.lease
        for _ in range(times):
            if how in ("answer", "retry"):
                values = {"payload": "{}", "entry": "{}", "retention_ms": 10**6}
                self.ledger.run(finish(Finish(id=grant.id, lease=grant.lease, decision=how, **values)))  # type: ignore[arg-type]
            else:
                self.ledger.run(settle([Settlement(id=grant.id, lease=grant.lease, ending=how)], TERMS))  # type: ignore[arg-type]
        if held:
            del self.running[grant.id]
            if how in ("retry", "return"):
                self.waiting[grant.id] = (grant.queue, grant.node)

    @rule()
    def all_leases_lapse(self) -> None:
        keys, redis = self.ledger.keys, self.ledger.redis
        for id in redis.zrange(keys.of("running"), 0, -1):
            redis.zadd(keys.of("running"), {id: 1})
            queue, node = redis.hmget(keys.of("job", id.decode()), "queue", "node")
            self.waiting[id.decode()] = (queue.decode(), node.decode())
        self.ledger.run(renew("reaper", "{}", 1000, [], TERMS))
        self.running = {}

    @rule(seconds=st.sampled_from([1, 5, 20, 31, 61]))
    def time_passes(self, seconds: int) -> None:
        keys, redis = self.ledger.keys, self.ledger.redis
        self.now += seconds * 1000
        for name in redis.keys(keys.of("log", "*")):
            times = [int(at) - seconds * 1000 for at in redis.lrange(name, 0, -1)]
            redis.delete(name)
            redis.rpush(name, *times)
        for name in redis.keys(keys.of("scope", "*")):
            at = redis.hget(name, "rt")
            if at:
                redis.hset(name, "rt", int(at) - seconds * 1000)
        places = redis.zrange(keys.of("parks"), 0, -1)
        if places:
            redis.zadd(keys.of("parks"), dict.fromkeys(places, 1))

    @invariant()
    def no_limit_is_exceeded(self) -> None:
        if not hasattr(self, "ledger"):
            return
        for scope, fields in self.limits.items():
            limits = {name: float(value) for name, value in fields.items()}
            assert self.used(scope) <= limits.get("cl", 10**9), scope
            for limit, window in (("rl", "rw"), ("sl", "sw")):
                if limit in limits:
                    assert self.within(scope, limits[window]) <= limits[limit], scope
            if "rb" in limits:
                assert self.bucket(scope, limits["rb"], limits["rr"]) > -0.2, scope  # real time refills a little

    @invariant()
    def what_is_in_use_is_what_runs(self) -> None:
        if not hasattr(self, "ledger"):
            return
        keys, redis = self.ledger.keys, self.ledger.redis
        for name in redis.keys(keys.of("scope", "*")):
            scope = name.decode().removeprefix(keys.of("scope"))
            assert int(redis.hget(name, "cu") or 0) == self.used(scope), scope

    @invariant()
    def every_waiting_job_is_in_one_place(self) -> None:
        if not hasattr(self, "ledger"):
            return
        keys, redis = self.ledger.keys, self.ledger.redis
        found = [id for queue in QUEUES for id in redis.lrange(keys.queue(queue), 0, -1)]
        found += [id for name in redis.keys(keys.of("parked", "*")) for id in redis.zrange(name, 0, -1)]
        assert sorted(id.decode() for id in found) == sorted(self.waiting)


@pytest.fixture(autouse=True, scope="module")
def _cluster(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    Permits.url = redis_url
    Permits.configuration = configuration(tmp_path_factory.mktemp("permits") / "configs")


class TestPermits(Permits.TestCase):  # type: ignore[name-defined,misc]
    """Run by pytest."""

    settings = settings(
        max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
