"""Lines of OpenAI's Batch API: {"custom_id", "method", "url", "body"}, the body that of a chat completion.

https://platform.openai.com/docs/api-reference/batch/request-input
"""

from collections.abc import Mapping
from typing import Any

#: Means the same with us.
_SAME = ("messages", "temperature", "tools", "metadata", "model")
#: Changes nothing in the answer that we give, or is what we do anyway.
_NEEDLESS = frozenset({"stream", "store", "user", "safety_identifier", "prompt_cache_key", "service_tier"})
_URL = "/v1/chat/completions"


class LineInvalid(ValueError):
    """A line that is not a job; the message says where, what is wrong, and what would be right."""


def is_openai_line(said: Mapping[str, Any]) -> bool:
    """Whether a line is meant as one of OpenAI's."""
    return "body" in said or "url" in said


def read_openai_line(said: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a job, and `model`. Raises LineInvalid."""
    if said.get("method", "POST") != "POST" or said.get("url", _URL) != _URL:
        raise LineInvalid(f"method, url: not a chat completion (would be right: POST and {_URL})")
    unknown = sorted(said.keys() - {"custom_id", "method", "url", "body"})
    if unknown:
        raise LineInvalid(f"{unknown[0]}: unknown field (known are custom_id, method, url, body)")
    body = said.get("body")
    if not isinstance(body, dict):
        raise LineInvalid("body: not an object (would be right: that of a chat completion, with messages)")
    return _read_body(body)


def _read_body(body: dict[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in body.items() if value is not None and name not in _NEEDLESS}
    if given.pop("n", 1) != 1:
        raise LineInvalid("body.n: not 1 (would be right: one line for each answer)")
    fields = {name: given.pop(name) for name in _SAME if name in given}
    for name in ("max_tokens", "max_completion_tokens"):
        if name in given:
            fields["max_tokens"] = given.pop(name)
    if "tool_choice" in given:
        fields["function_calling"] = _function_calling(given.pop("tool_choice"))
    if "response_format" in given:
        fields["response_format"] = _response_format(given.pop("response_format"))
    if given:
        raise LineInvalid(f"body.{min(given)}: not supported (would be right: leave it out)")
    return fields


def _function_calling(choice: object) -> object:
    if choice not in ("none", "auto", "required"):
        raise LineInvalid("body.tool_choice: not supported (would be right: none, auto or required)")
    return choice


def _response_format(form: object) -> object:
    """Ours are the words; OpenAI's are objects with a type."""
    if isinstance(form, dict) and form.get("type") in ("text", "json_object"):
        return form["type"]
    return form
