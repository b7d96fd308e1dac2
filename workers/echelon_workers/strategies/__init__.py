"""Where a job may go when an attempt has failed: one strategy a module, found by its name in the YAML.

Plain and light: neither Celery nor a provider's library is needed here.
"""

from .lookup import StrategyUnusable, strategy_named
from .situation import Attempt, Situation, read_trail
from .strategy import Candidate, Strategy

__all__ = ["Attempt", "Candidate", "Situation", "Strategy", "StrategyUnusable", "read_trail", "strategy_named"]
