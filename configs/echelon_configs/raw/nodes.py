"""Workflow nodes as written: the keys under `config:`, or flat beside `type:`."""

from pydantic import Field

from echelon_configs.raw.calls import RawCallSettings
from echelon_configs.raw.fields import Limit, Name, Raw, Seconds, Text
from echelon_configs.raw.limits import RawRateLimiting, ScopeLimits


class RawTask(Raw):
    """Time and retries of a node's jobs."""

    timeout: Seconds | None = Field(default=None, description="seconds one attempt may take")
    max_retries: Limit = Field(default=None, description="further attempts at the same queue; 0 is none")


class RawNodeConcurrency(Raw):
    """How many of a node's jobs run and wait."""

    enabled: bool = Field(default=True, description="whether the two limits hold")
    limit: Limit = Field(default=None, description="attempts in flight at once; 0 or none is no limit")
    queue_size: Limit = Field(default=None, description="jobs that may wait; 0 or none is no limit")


class RawNodeConfig(ScopeLimits, RawCallSettings):
    """A node's own keys."""

    description: Text = Field(default="", description="for people")
    llm_group: Name | None = Field(default=None, description="where its jobs go: `group.echelon` or `group`")
    polling_pool: Name | None = Field(
        default=None, description="where its jobs go without `llm_group`; with it, the last fallback"
    )
    model: Name | None = Field(default=None, description="where its jobs go without either: one instance")
    fallback_groups: list[Name] | None = Field(
        default=None,
        description="queues to go to instead of the group's: `group.echelon`, `group`, `pool.NAME`, `model.NAME`",
    )
    system_prompt: Text | None = Field(default=None, description="put before each of its jobs that has none")
    task_config: RawTask | None = Field(default=None, description="`timeout` and `max_retries` together")
    concurrency_config: RawNodeConcurrency | None = Field(default=None, description="the node's own concurrency")
    rate_limiting: RawRateLimiting | None = Field(default=None, description="a rate of requests, beside `rpm_limit`")


class RawNode(RawNodeConfig):
    """A workflow step that submits jobs under a name."""

    type: Name = Field(default="llm_node", description="`llm_node`; nodes of other types are left out, with a warning")
    config: RawNodeConfig | None = Field(default=None, description="the node's keys, if they are not written flat")
