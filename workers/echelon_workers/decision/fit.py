"""Whether an instance can take a job at all. What the configuration does not say is taken to be possible."""

import math
from functools import cached_property

from echelon_configs import CallSettings, Configuration, Instance, Member, Queue
from echelon_configs.token_limits import token_limit
from echelon_workers.errors import ContextTooLong
from echelon_workers.ledger.estimate import Size, sizes
from echelon_workers.ledger.needs import NeverFits, Room
from echelon_workers.strategies import Attempt

from .decision import Job


class Fit:
    """Says of each member of a queue why the job cannot go there."""

    def __init__(self, configuration: Configuration, job: Job, trail: tuple[Attempt, ...]) -> None:
        self._configuration = configuration
        self._job = job
        known = configuration.instances
        codes = [attempt for attempt in trail if attempt.code == ContextTooLong.code]
        self._too_small = [known[attempt.instance] for attempt in codes if attempt.instance in known]

    def why_not(self, queue: Queue, member: Member) -> str:
        """Why the job cannot go to this member; empty when it can."""
        instance = self._configuration.instances[member.instance]
        settings = self._configuration.settings_of(member.home, member.instance)
        if self._job.node is not None:
            settings = settings.updated(self._job.node.overrides)
        return (
            _cannot_be_called(instance)
            or self._cannot_do(instance, settings)
            or self._is_no_larger(instance)
            or self._has_no_room(queue, member, instance, settings)
        )

    def _cannot_do(self, instance: Instance, settings: CallSettings) -> str:
        request, can = self._job.request, instance.supports
        calling = request.function_calling or settings.function_calling
        wanted = request.response_format or settings.response_format
        form = "json_schema" if isinstance(wanted, dict) else wanted
        if can.tools is False and (calling == "required" or (request.tools and calling != "none")):
            return "it cannot call tools"
        if (form == "json_object" and can.json_object is False) or (form == "json_schema" and can.json_schema is False):
            return f"it cannot answer in the form {form}"
        return "it cannot read images" if can.images is False and self._has_images else ""

    @cached_property
    def _has_images(self) -> bool:
        contents = [message.get("content") for message in self._job.request.messages or ()]
        parts = [part for content in contents if isinstance(content, list) for part in content]
        return any(part["type"] == "image_url" for part in parts)

    def _is_no_larger(self, instance: Instance) -> str:
        """After an instance has refused the job as too long: whether this one would refuse it too."""
        for refused in self._too_small:
            if (instance.provider, instance.model) == (refused.provider, refused.model):
                return f"the same model has refused it as too long ({refused.name})"
            if (instance.context_window or math.inf) <= (refused.context_window or 0):
                return f"its context is no larger than that of {refused.name}, which was too small"
        return ""

    def _has_no_room(self, queue: Queue, member: Member, instance: Instance, settings: CallSettings) -> str:
        window, node = instance.context_window, self._job.node
        if window is None and token_limit(self._configuration, queue, member, node) is None:
            return ""
        alone = queue.model_copy(update={"members": (member,)})
        try:
            usual, _, most = Room(self._configuration, alone, node).needs(self._job.request, self._size)
        except NeverFits as never:
            return str(never).partition(" (would be right")[0]
        needed = usual + (most or settings.output_tokens)
        if window is not None and needed > window:
            return f"the job needs about {needed:,} tokens, and its context has {window:,}"
        return ""

    @cached_property
    def _size(self) -> Size:
        return sizes(self._job.request)


def _cannot_be_called(instance: Instance) -> str:
    return f"it cannot be called: {', '.join(instance.unset)} not set" if instance.unset else ""
