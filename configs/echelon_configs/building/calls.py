"""Call settings as stated at one place."""

from typing import Any

from echelon_configs.raw.calls import RawCallSettings, RawThinking
from echelon_configs.raw.models import RawParameters
from echelon_configs.settings import CallOverrides, Thinking


def given(**values: Any) -> dict[str, Any]:
    """What was written, without what was not."""
    return {name: value for name, value in values.items() if value is not None}


def call_overrides(raw: RawCallSettings | RawParameters) -> CallOverrides:
    """The call settings written at one place."""
    return CallOverrides(
        timeout_s=raw.timeout,
        max_retries=raw.max_retries,
        temperature=raw.temperature,
        max_tokens=raw.max_tokens,
        function_calling=raw.function_calling,
        response_format=_response_format(raw.response_format),
        thinking=_thinking(raw.thinking_config),
    )


def _thinking(raw: RawThinking | None) -> Thinking | None:
    if raw is None:
        return None
    return Thinking(enabled=raw.enabled, budget_tokens=raw.budget_tokens if raw.enabled else None)


def _response_format(written: Any) -> Any:
    """A bare JSON schema in OpenAI's form, which is the one form that calls are made with."""
    if not isinstance(written, dict):
        return written
    inner = written.get("json_schema") if written.get("type") == "json_schema" else None
    inner = inner if isinstance(inner, dict) else {"schema": written}
    schema = {"name": inner.get("name", "answer"), "schema": inner["schema"], "strict": inner.get("strict", False)}
    return {"type": "json_schema", "json_schema": schema}
