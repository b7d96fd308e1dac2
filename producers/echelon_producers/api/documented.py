"""The API as an OpenAPI document (`/openapi.json`), from the same models that check the jobs."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from echelon_workers.ledger.job import JobRequest
from echelon_workers.ledger.record import JobRecord
from echelon_workers.ledger.status import ClusterStatus

_REF = "#/components/schemas/{model}"


class NewJob(JobRequest):
    """One job: where it goes, and what is asked."""

    target: str | None = Field(None, description="group.echelon, group, pool.NAME, node.NAME or model.NAME")
    node: str | None = Field(None, description="the node it is submitted under; alone, it is the target")
    priority: int = Field(0, ge=0, le=9, description="higher goes first")
    deadline_s: float | None = Field(None, gt=0, le=2_592_000, description="seconds until it is given up")
    fallback_groups: list[str] | None = Field(
        None, max_length=20, description="targets to go to, in order, in place of those configured; empty: nowhere"
    )
    id: str | None = Field(None, pattern=r"^[A-Za-z0-9._:-]{1,200}$", description="the same id again is the same job")


class NewJobs(BaseModel):
    """Many jobs: all are accepted or, when one is wrong, none."""

    model_config = ConfigDict(extra="forbid")

    target: str | None = Field(None, description="for jobs that name no target of their own")
    jobs: list[NewJob | str] = Field(min_length=1, max_length=10_000, description="jobs, or plain prompts")


class Accepted(BaseModel):
    """A job that is on its way."""

    id: str
    state: str


class CancelledJob(BaseModel):
    """What became of a job that was to be cancelled."""

    id: str
    outcome: str = Field(
        description="cancelled; stopping: it runs, and its call is closed; or how it had ended: answered, dead, expired"
    )


class Jobs(BaseModel):
    """Many jobs, in the order they were given."""

    jobs: list[Accepted | JobRecord]


class Listed(BaseModel):
    """Jobs that are queued, delayed, running or dead, the newest first."""

    jobs: list[JobRecord]


class Problem(BaseModel):
    """One thing that is wrong."""

    where: str
    message: str


class Error(Problem):
    """What is wrong, for programs (`code`) and for people (`message`)."""

    code: str
    problems: list[Problem] = Field([], description="all that is wrong with a job")
    job_ids: list[str] = Field(
        [], description="of a submit that found no Redis, or was refused in the midst: ids to send the same jobs with"
    )
    accepted: list[str] = Field([], description="of a submit that was refused in the midst: the jobs accepted before")
    id: str = Field("", description="the id that is another job's")
    queue: str = Field("", description="the queue that takes no new jobs")
    scope: str = Field("", description="what is full: echelon:NAME, group:NAME, model:NAME or node:NAME")
    limit: int = Field(0, description="how many jobs may wait there")
    waiting: int = Field(0, description="how many jobs wait there")


class Failure(BaseModel):
    """Every answer with a status of 400 or more."""

    error: Error


_MODELS = (NewJob, NewJobs, Accepted, CancelledJob, JobRecord, Jobs, Listed, ClusterStatus, Failure)


def _content(*models: Any) -> dict[str, Any]:
    refs = [{"$ref": _REF.format(model=model.__name__)} for model in models]
    return {"application/json": {"schema": refs[0] if len(refs) == 1 else {"anyOf": refs}}}


def _route(**replies: tuple[str, tuple[Any, ...]]) -> dict[str, Any]:
    responses = {
        status.lstrip("_"): {"description": what, **({"content": _content(*models)} if models else {})}
        for status, (what, models) in replies.items()
    }
    failures = {
        "4XX": "What was sent is wrong.",
        "503": "Redis is away, no configuration is in force, or the queue is being drained.",
    }
    for status, what in failures.items():
        responses[status] = {"description": what, "content": _content(Failure)}
    return {"responses": responses}


def _header(name: str, what: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": what, "schema": {"type": "string"}}


def _query(name: str, what: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": what, "schema": {"type": "string"}}


_FULL = ("As many jobs wait as may; Retry-After says when there will be room.", (Failure,))
_PREFER = _header("Prefer", "wait=N: hold the reply for up to N seconds (at most 300), RFC 7240")
_KEY = _header("Idempotency-Key", "the job's id; of many jobs, KEY:0, KEY:1, ...")

SUBMIT = {
    **_route(
        _200=("Ended.", (JobRecord, Jobs)),
        _202=("On its way.", (Accepted, JobRecord, Jobs)),
        _422=("It is wrong, or its id is another job's (`idempotency_key_reused`).", (Failure,)),
        _429=_FULL,
    ),
    "openapi_extra": {
        "parameters": [_PREFER, _KEY],
        "requestBody": {"required": True, "content": _content(NewJob, NewJobs)},
    },
}
READ = {
    **_route(_200=("The job.", (JobRecord,)), _202=("Waited for, and still on its way.", (JobRecord,))),
    "openapi_extra": {"parameters": [_PREFER]},
}
LIST = {
    **_route(_200=("The jobs.", (Listed,))),
    "openapi_extra": {
        "parameters": [
            _query("state", "queued, delayed, running or dead; all of these without it"),
            _query("queue", "only those that are, or died, in this queue"),
            _query("limit", "no more than so many, 1 to 1,000; 100"),
        ]
    },
}
CANCEL = _route(_200=("What became of it.", (CancelledJob,)), _404=("There is no such job.", (Failure,)))
REDRIVE = _route(_202=("It is on its way again.", (Accepted,)), _409=("It has not ended, or is answered.", (Failure,)))
STATUS = _route(_200=("The cluster.", (ClusterStatus,)))
HEALTHY = _route(_200=("It lives.", ()))
READY = _route(_200=("It is ready.", ()))


def document(api: FastAPI) -> None:
    """Let `/openapi.json` say all of it."""

    def openapi() -> dict[str, Any]:
        if api.openapi_schema is None:
            whole = get_openapi(title=api.title, version=api.version, description=api.description, routes=api.routes)
            whole.setdefault("components", {}).setdefault("schemas", {}).update(_schemas())
            api.openapi_schema = whole
        return api.openapi_schema

    api.openapi = openapi  # type: ignore[method-assign]


def _schemas() -> dict[str, Any]:
    adapters = [(model.__name__, "validation", TypeAdapter(model)) for model in _MODELS]
    _, definitions = TypeAdapter.json_schemas(adapters, ref_template=_REF)  # type: ignore[arg-type]
    found: dict[str, Any] = definitions["$defs"]
    return found
