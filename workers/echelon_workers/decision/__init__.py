"""What becomes of a job after an attempt: pure functions of what is configured and what has happened.

Plain and light: neither Celery nor a provider's library is needed here.
"""

from .decide import decide, divert
from .decision import ANSWER, NO_DELAY, Decision, Delay, Job, Skipped, Verdict
from .facts import job_of
from .rules import Rules, rules_of

__all__ = [
    "ANSWER",
    "NO_DELAY",
    "Decision",
    "Delay",
    "Job",
    "Rules",
    "Skipped",
    "Verdict",
    "decide",
    "divert",
    "job_of",
    "rules_of",
]
