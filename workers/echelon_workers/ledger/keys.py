"""Every key and channel name of the cluster in Redis, built in this one file, for Python and for Lua.

Queues are kombu's own lists, so that Celery clients, Flower and `LLEN` see them under the names of the
configuration. Everything else lives below `echelon:`. A namespace (`ECHELON_NAMESPACE`) separates clusters
that share a database: it is kombu's `global_keyprefix` for the lists and stands before `echelon:` too.
"""

from dataclasses import dataclass

#: kombu's separator between a queue's name and a priority (kombu/transport/redis.py `Channel.sep`).
PRIORITY_SEPARATOR = "\x06\x16"
PRIORITIES = range(10)
#: The number of the list that holds a queue's guests: jobs that fell back to it. It is named as kombu names a priority.
GUESTS = 10

#: name in Lua -> (what follows the own prefix, Redis type and content)
_NAMES = {
    "job": ("job:", "+ id, hash: the record of one job"),
    "running": ("running", "zset id -> when its lease lapses, in ms of server time"),
    "delayed": ("delayed", "zset id -> when it goes back to its queue"),
    "dead": ("dead", "zset id -> when it died"),
    "deadlines": ("deadlines", "zset id -> the deadline of a job that has not ended"),
    "revoked": ("revoked:", "+ id, string: revoked before its message was adopted; expires"),
    "adopting": ("adopting", "zset raw foreign message -> when it goes back to the inbox"),
    "counts": ("counts", "hash 'running:QUEUE', 'delayed:QUEUE' -> how many jobs are there"),
    "totals": ("totals:", "+ queue, hash: submitted, answered, dead, tokens, cost, ... since the beginning"),
    "cursor": ("cursor", "hash queue -> turns of its rotation so far, or what its scores have added up to"),
    "recent": ("recent", "hash instance -> the number of its last grant, '' -> how many there were"),
    "scores": ("scores:", "+ queue, hash instance -> its score, as its scheduler published it lately"),
    "scorer": ("scorer", "string: the worker that publishes scores; expires"),
    "checks": ("checks", "zset instance -> when its health was last looked at"),
    "probing": ("probing", "zset instance -> until when its probe holds permits"),
    "probes": ("probes", "hash instance -> what its probe holds (lua/parts/probes.lua)"),
    "taker": ("taker:", "+ worker, hash: the last take's sequence and grants"),
    "idle": ("idle:", "+ queue, set: workers that found it empty and have free slots"),
    "worker": ("worker:", "+ worker, string: what it says of itself; expires with its heartbeat"),
    "workers": ("workers", "zset worker -> its last heartbeat"),
    "revision": ("revision", "hash: number, digest, document of the configuration in force"),
    "scope": ("scope:", "+ scope, hash: its limits in force (publish) and what is in use of them (take, finish)"),
    "scopes": ("scopes", "set: the scopes that have limits in this revision"),
    "log": ("log:", "+ scope, list: when its last requests were granted, oldest first; as many as its limit"),
    "tokens": ("tokens:", "+ scope, zset 'id lease tokens' -> when they were reserved"),
    "plan": ("plan:", "+ queue, string: its instances with the scopes of each, as take needs them"),
    "plans": ("plans", "set: the queues of this revision"),
    "blocked": (
        "blocked",
        "hash queue -> until when nothing of it may start, who asks again first, since when, and what binds",
    ),
    "waiting": ("waiting:", "+ scope, set: queues that wait for a concurrency permit of it"),
    "short": ("short:", "+ scope, set: queues that wait for tokens of it"),
    "parked": ("parked:", "+ queue and node, zset id -> when it was made: passed over because its node has no permit"),
    "parks": ("parks", "zset 'queue node' -> when its parked jobs are looked at again"),
    "pace": ("pace", "hash queue -> how many of its jobs started lately, and as of when"),
    "paused": ("paused", "set: queues that nothing is taken from"),
    "draining": ("draining", "set: queues that take no new jobs"),
    "dropped": ("dropped", "set: queues of earlier revisions that this one does not have"),
    "moves": (
        "moves",
        "hash 'move STRATEGY', 'answer ...', 'bury ...', 'lost_ms ...', 'to QUEUE', 'lost_at QUEUE' -> how many, or ms",
    ),
    "history": ("history", "list: the fleet's last fallbacks as JSON, the newest first"),
    "served": ("served", "zset instance -> when a worker that has its key last said so"),
    "out": ("out", "zset instance -> until when its breaker is open"),
    "clock": ("clock", "string: the latest time that a script has seen, so that time never runs back"),
    "ahead": ("ahead", "string: by how many ms the cluster's time is ahead of a server clock that was set back"),
    "lease": ("lease", "string: how many ms a lease lasts, as the last heartbeat said"),
    "calm": ("calm", "string: until when no lease lapses, because the server was away; expires"),
    "epoch": ("epoch", "string: every lease is higher than this: when a server may have forgotten some"),
    "server": ("server", "string: the run id of the server that scripts were last loaded into"),
    "wake": ("wake:", "+ worker, channel: a queue it found empty has a job"),
    "unwanted": ("unwanted:", "+ worker, channel: id and lease of a job that is to be cancelled"),
    "ended": ("ended:", "+ id, channel: the job has ended"),
    "published": ("published", "channel: a new revision is in force"),
}

#: Where Celery's own Redis result backend looks for a result (celery/backends/base.py `task_keyprefix`).
CELERY_RESULT_PREFIX = "celery-task-meta-"


@dataclass(frozen=True, slots=True)
class Keys:
    """The names of one cluster's keys. `namespace` is empty for the usual one cluster in a database."""

    namespace: str = ""

    @property
    def queue_prefix(self) -> str:
        """kombu's `global_keyprefix`: what stands before the name of a queue's list."""
        return f"{self.namespace}:" if self.namespace else ""

    @property
    def own(self) -> str:
        """What stands before every key that is not a queue."""
        return f"{self.queue_prefix}echelon:"

    def of(self, name: str, suffix: str = "") -> str:
        """The key called `name` in the table above, with its suffix (a job id, a queue, a worker)."""
        return f"{self.own}{_NAMES[name][0]}{suffix}"

    def queue(self, queue: str, priority: int = 0) -> str:
        """The list that holds a queue's jobs of one priority."""
        return f"{self.queue_prefix}{queue}{f'{PRIORITY_SEPARATOR}{priority}' if priority else ''}"

    def queue_lists(self, queue: str) -> list[str]:
        """All the lists of a queue: lowest priority first, then its guests."""
        return [self.queue(queue, number) for number in (*PRIORITIES, GUESTS)]


def lua_preamble() -> str:
    """The same names as a Lua table `K`; every script starts with it. KEYS: own prefix, queue prefix."""
    rows = ", ".join(f"{name} = KEYS[1]..'{suffix}'" for name, (suffix, _) in _NAMES.items())
    separator = "".join(f"\\{ord(c)}" for c in PRIORITY_SEPARATOR)
    return (
        f"local K = {{ {rows}, result = KEYS[2]..'{CELERY_RESULT_PREFIX}' }}\n"
        f"local GUESTS = {GUESTS}\n"
        f"local function list_of(queue, priority)\n"
        f"  if priority == 0 then return KEYS[2]..queue end\n"
        f"  return KEYS[2]..queue..'{separator}'..priority\n"
        f"end\n"
    )
