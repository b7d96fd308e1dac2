"""How the instances of a queue take turns: one scheduler a module, found by its name in the YAML.

Plain and light: neither Celery nor a provider's library is needed here.
"""

from .lookup import SCHEDULERS, SchedulerUnusable, scheduler_named
from .scheduler import Scheduler, Standing

__all__ = ["SCHEDULERS", "Scheduler", "SchedulerUnusable", "Standing", "scheduler_named"]
