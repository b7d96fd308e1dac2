"""One call on its way: read, logged with the fault that strikes it, judged, and counted as over."""

import json
import time
from typing import Any

from .answers import input_tokens, prompt_digest
from .arrivals import GONE, Arrival
from .behaviours import Live
from .exchange import Ask, Failure, RequestError, Standing, bad_request
from .faults import Occasion, fingerprint
from .markers import UNMARKED, Marked, read_markers
from .script import Fault, Operation
from .simulation import Simulation
from .tallies import Tally
from .verdict import Verdict, decide, fail, listed
from .wire import Received, Wire

_NO_KEY = {"openai": "401", "anthropic": "401", "gemini": "403"}


class Call:
    """One call: what was asked and by whom, and its places in the log and the tallies."""

    def __init__(self, simulation: Simulation, wire: Wire, received: Received) -> None:
        self.simulation = simulation
        self.wire = wire
        self.received = received
        self.operation: Operation = received.target.operation
        self.model = received.target.model or ""
        self.ask: Ask | None = None
        self.marked: Marked = UNMARKED
        self.refused: Failure | None = None
        self.fault: Fault | None = None
        self.key = ""
        self.tokens_in = 0
        self.instance = received.headers.get("x-echelon-instance", "")
        self.now_ns = time.monotonic_ns()
        self._tallies: tuple[Tally, ...] = ()
        self._arrival: Arrival | None = None
        self._live: Live | None = None
        self._entered: Live | None = None
        self._over = False

    @property
    def number(self) -> int:
        """The arrival's number in the log."""
        return self._arrival.number if self._arrival else 0

    @property
    def live(self) -> Live:
        """The behaviour that holds for this call."""
        if self._live is None:
            self._live = self.simulation.behaviours.of(self.model, self.key, self.instance)
        return self._live

    def read(self, raw: bytes | None) -> None:
        """Take in who calls and what is asked; `raw` None is a body beyond what is accepted."""
        key = self.wire.key(self.received)
        if key is None:
            self.refused = Failure(kind=_NO_KEY[self.wire.name])
        else:
            self.key = fingerprint(key)
        if raw is None:
            self.refused = Failure(kind="413")
        elif self.operation == "call":
            try:
                self._read_body(raw)
            except RequestError as refusal:
                self.refused = self.refused or refusal.failure

    def _read_body(self, raw: bytes) -> None:
        try:
            body: Any = json.loads(raw)
        except (ValueError, RecursionError):
            body = None
        if isinstance(body, dict) and isinstance(body.get("model"), str):
            self.model = self.model or body["model"]
        try:
            self.ask = self.wire.read(self.received, body)
            self.marked = read_markers(self.ask.text)
            self.tokens_in = input_tokens(self.ask)
        except (AttributeError, KeyError, TypeError, ValueError, IndexError):
            # A field of a type that the provider does not take, somewhere inside.
            raise bad_request("The request has a field of the wrong type.") from None

    def arrive(self, job: str, attempt: str) -> None:
        """Log and count the arrival, with the fault that strikes it."""
        simulation, tallies = self.simulation, self.simulation.tallies
        self.fault = None if self.refused else self._choose_fault()
        is_call = self.operation == "call"
        self._tallies = tallies.of(self.wire.name, self.model, self.instance) if is_call else (tallies.listings,)
        kind = self.fault.kind if self.fault else ""
        for tally in self._tallies:
            tally.arrive(kind)
        self._arrival = simulation.log.begin(
            provider=self.wire.name,
            operation=self.operation,
            model=self.model,
            instance=self.instance,
            key=self.key,
            job=job,
            attempt=int(attempt) if attempt.isascii() and attempt.isdigit() and len(attempt) < 10 else 0,
            in_flight=self._tallies[-1].in_flight,
            tokens_in=self.tokens_in,
            fault=kind,
            time_ns=time.time_ns(),
            monotonic_ns=self.now_ns,
        )

    def _choose_fault(self) -> Fault | None:
        simulation = self.simulation
        occasion = Occasion(
            operation=self.operation,
            provider=self.wire.name,
            model=self.model,
            instance=self.instance,
            key=self.key,
            since_start_s=(self.now_ns - simulation.started_ns) / 1e9,
            since_script_s=(self.now_ns - simulation.script_ns) / 1e9,
        )
        if self.marked.faults and self.ask:
            marked = simulation.faults.choose_marked(self.marked.faults, prompt_digest(self.ask), occasion)
            if marked is not None:
                return marked
        return simulation.faults.choose(occasion)

    def judge(self) -> Verdict:
        """What becomes of this call; an admitted one takes its place and its tokens count."""
        if self.refused is not None:
            return Verdict(failure=self.refused)
        if self.ask is None:
            failed = fail(self.fault, self.model) if self.fault else None
            return failed or listed(self.fault)
        verdict = decide(self.ask, self.tokens_in, self.live, self.fault, self.marked, self.number, self.now_ns)
        if verdict.admitted and verdict.reply is not None and self._arrival is not None:
            self._entered = self.live
            self._arrival.admit(verdict.reply.output_tokens)
            for tally in self._tallies:
                tally.admit(verdict.reply.input_tokens, verdict.reply.output_tokens)
        return verdict

    def standing(self) -> list[Standing]:
        """What is left of the limits, for headers."""
        if self.operation != "call" or self.live.quota is None:
            return []
        return self.live.quota.standing(self.now_ns)

    def leave(self, status: int, flags: int = 0) -> None:
        """The call is over, once: give its place back and count how it ended."""
        if self._over:
            return
        self._over = True
        if self._entered is not None and self._entered.gate is not None:
            self._entered.gate.inside -= 1
        for tally in self._tallies:
            tally.leave(status, bool(flags & GONE))
        if self._arrival is not None:
            self._arrival.finish(status, flags)
