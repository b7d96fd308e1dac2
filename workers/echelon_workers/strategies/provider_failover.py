"""`provider_failover`: models of other providers."""

from collections.abc import Iterable

from echelon_configs import Instance

from .situation import Situation
from .strategy import Candidate, Strategy


class ProviderFailover(Strategy):
    """Away from the provider that failed: an outage takes all its models at once."""

    def candidates(self, situation: Situation) -> Iterable[Candidate]:
        """Home, then each echelon below, with the models of providers that have not failed."""
        instances = situation.configuration.instances
        down = {provider_of(instances[name]) for name in situation.failed if name in instances}
        for queue in (situation.home, *situation.below):
            names = situation.instances(queue)
            yield Candidate(queue, frozenset(name for name in names if provider_of(instances[name]) not in down))


def provider_of(instance: Instance) -> tuple[str, str | None]:
    """Who answers at this instance. What only speaks OpenAI's format is told apart by its address."""
    return instance.vendor, instance.base_url if instance.vendor == "openai_compatible" else None
