"""Under `estimate: worst_case`: echelons, pools and nodes whose `max_tokens` alone is too much for a minute."""

from echelon_configs.configuration import Configuration
from echelon_configs.nodes import Node
from echelon_configs.problems import Problems
from echelon_configs.queues import Queue
from echelon_configs.reading.drafts import Draft
from echelon_configs.text.marked import Marked
from echelon_configs.token_limits import TokenLimit, token_limit


def check_token_room(configuration: Configuration, draft: Draft, problems: Problems) -> None:
    """Adds an error for each that could run no job, unless the job itself asks for less."""
    if configuration.rate_limiting.estimate != "worst_case":
        return
    for group in configuration.groups.values():
        for echelon in group.echelons.values():
            place = draft.groups[group.name].echelons[echelon.name].node
            _check(configuration, configuration.queues[echelon.queue], None, place, problems)
    for pool in configuration.pools.values():
        if pool.limits.tokens_per_minute:
            _check(configuration, configuration.queues[pool.queue], None, draft.pools[pool.name].node, problems)
    for node in configuration.nodes.values():
        if node.overrides.max_tokens is not None or node.limits.tokens_per_minute:
            queue = configuration.queues[configuration.resolve(node.target).queue]
            _check(configuration, queue, node, draft.nodes[node.name].node, problems)


def _check(configuration: Configuration, queue: Queue, node: Node | None, place: Marked, problems: Problems) -> None:
    closest: tuple[int, TokenLimit] | None = None
    for member in queue.members:
        limit = token_limit(configuration, queue, member, node)
        settings = configuration.settings_of(member.home, member.instance)
        most = (settings.updated(node.overrides) if node else settings).output_tokens
        if limit is None or most < limit.per_minute:
            return
        closest = closest or (most, limit)
    if closest is not None:
        most, limit = closest
        problems.error(
            place.key("rate_limiting" if queue.kind == "pool" and node is None else "max_tokens"),
            f"max_tokens {most:,} leave no room in the {limit.per_minute:,} tokens a minute of {limit.scope}: under "
            "estimate: worst_case no job could ever run",
            f"write max_tokens well below {limit.per_minute:,}, a higher tpm_limit, or estimate: typical",
        )
