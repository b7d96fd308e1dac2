"""The ways in: Python client, HTTP API, command line.

`from echelon_producers import Client, AsyncClient` is all that a web app needs.
"""

from echelon_workers.ledger.job import Answer, JobRequest, ToolCall, Usage
from echelon_workers.ledger.record import JobRecord
from echelon_workers.ledger.verbs import Cancelled

from .client import AsyncClient, Client
from .errors import (
    EchelonError,
    IdempotencyConflict,
    JobCancelled,
    JobDied,
    JobEnded,
    JobExpired,
    NoConfiguration,
    NotListed,
    QueueDraining,
    QueueFull,
    ResultTimeout,
    SubmitInvalid,
    Unavailable,
    UnknownJob,
)

__all__ = [
    "Answer",
    "AsyncClient",
    "Cancelled",
    "Client",
    "EchelonError",
    "IdempotencyConflict",
    "JobCancelled",
    "JobDied",
    "JobEnded",
    "JobExpired",
    "JobRecord",
    "JobRequest",
    "NoConfiguration",
    "NotListed",
    "QueueDraining",
    "QueueFull",
    "ResultTimeout",
    "SubmitInvalid",
    "ToolCall",
    "Unavailable",
    "UnknownJob",
    "Usage",
]
