"""The tokens that a job reserves, and whether it can ever get them on its way to one of its queue's instances."""

from collections.abc import Iterable
from typing import NamedTuple

from echelon_configs import CallSettings, Configuration, Member, Node, Queue, Resolved
from echelon_configs.settings import output_tokens, thinking_tokens
from echelon_configs.token_limits import TokenLimit, token_limit

from .estimate import NOTHING, Size, format_size, sizes, system_size
from .job import JobRequest


class Needs(NamedTuple):
    """The input of a job, usual and at most, and the output that it or its node allows; 0: its echelon says."""

    input_tokens: int
    worst_input_tokens: int
    max_tokens: int


class NeverFits(ValueError):
    """A job that needs more tokens than are let through in a minute, whichever way it goes: it would wait for ever."""


class _Way(NamedTuple):
    """To an instance: the smallest limit on it, and the output that is allowed there unless the job says otherwise."""

    limit: TokenLimit | None
    max_tokens: int
    thinking_tokens: int

    def output_tokens(self, request: JobRequest) -> int:
        asked = request.thinking
        thinking = (
            self.thinking_tokens if asked is None else thinking_tokens(asked["enabled"], asked.get("budget_tokens"))
        )
        return output_tokens(request.max_tokens or self.max_tokens, thinking)


class Room:
    """What one queue's jobs need and may have, submitted under one node or none."""

    def __init__(self, configuration: Configuration, queue: Queue, node: Node | None) -> None:
        settings = [_settings(configuration, member, node) for member in queue.members]
        limits = [token_limit(configuration, queue, member, node) for member in queue.members]
        self._ways = tuple(dict.fromkeys(map(_way, limits, settings)))
        self._is_limited = all(way.limit is not None for way in self._ways)
        self._worst_case = configuration.rate_limiting.estimate == "worst_case"
        self._system = system_size(node.system_prompt) if node and node.system_prompt else NOTHING
        self._format = max((format_size(each.response_format) for each in settings), default=NOTHING)
        self._adds = self._system != NOTHING or self._format != NOTHING
        self._max_tokens = _stated(node, self._ways)

    def needs(self, request: JobRequest, size: Size | None = None) -> tuple[int, int, int]:
        """The fields of Needs; `size` is the request's own, if it is known. Raises NeverFits."""
        size = size or sizes(request)
        usual, worst = self._input(request, size) if self._adds else size
        most = self._max_tokens
        if request.max_tokens is not None or request.thinking is not None:
            most = max(way.output_tokens(request) for way in self._ways)
        if self._is_limited:
            self._check(request, usual, worst)
        return usual, worst, most

    def _input(self, request: JobRequest, size: Size) -> Size:
        """What the request says, and what node and echelon add where it says nothing."""
        if request.system is None:
            size = size.and_also(self._system)
        return size.and_also(self._format) if request.response_format is None else size

    def _check(self, request: JobRequest, usual: int, worst: int) -> None:
        closest: tuple[int, TokenLimit, int] | None = None
        for way in self._ways:
            assert way.limit is not None
            output = way.output_tokens(request) if self._worst_case else 1
            above = (worst if self._worst_case else usual) + output - way.limit.per_minute
            if above <= 0:
                return
            if closest is None or above < closest[0]:
                closest = above, way.limit, output
        if closest is not None:
            _, limit, output = closest
            raise NeverFits(_said(limit, worst, output) if self._worst_case else _said(limit, usual))


class Rooms:
    """The rooms of one configuration, each worked out when it is first asked for."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self._known: dict[tuple[str, str], Room] = {}

    def of(self, resolved: Resolved) -> Room:
        """The room for jobs that go where `resolved` says."""
        which = (resolved.queue, resolved.node.name if resolved.node else "")
        if (room := self._known.get(which)) is None:
            queue = self.configuration.queues[resolved.queue]
            room = self._known[which] = Room(self.configuration, queue, resolved.node)
        return room


def _settings(configuration: Configuration, member: Member, node: Node | None) -> CallSettings:
    settings = configuration.settings_of(member.home, member.instance)
    return settings.updated(node.overrides) if node else settings


def _way(limit: TokenLimit | None, settings: CallSettings) -> _Way:
    thinking = settings.thinking
    return _Way(limit, settings.max_tokens, thinking_tokens(thinking.enabled, thinking.budget_tokens))


def _stated(node: Node | None, ways: Iterable[_Way]) -> int:
    """The output to reserve for a job that says nothing itself; 0 where its node says nothing either."""
    if node is None or (node.overrides.max_tokens is None and node.overrides.thinking is None):
        return 0
    return max(output_tokens(way.max_tokens, way.thinking_tokens) for way in ways)


def _said(limit: TokenLimit, needed: int, output: int | None = None) -> str:
    most, where = limit.per_minute, limit.scope
    if output is None:
        return (
            f"about {needed:,} tokens of input, and {where} lets {most:,} tokens a minute through: it would wait for "
            "ever (would be right: a shorter request, or a target with a higher tpm_limit)"
        )
    room = most - needed
    lower = f"max_tokens of at most {room:,}" if room > 0 else "a shorter request"
    return (
        f"up to {needed:,} tokens of input and {output:,} of output, and {where} lets {most:,} tokens a minute "
        f"through: it would wait for ever (would be right: {lower}, or a target with a higher tpm_limit)"
    )
