"""The lines of an output file, in the form of OpenAI's Batch API, with the attempts.

https://platform.openai.com/docs/api-reference/batch/request-output
"""

import json
from typing import Any

from echelon_workers.ledger.job import Answer
from echelon_workers.ledger.record import JobRecord


def answer_line(record: JobRecord, custom_id: str) -> bytes:
    """One line of output for a job that has ended, however it ended."""
    answer = record.answer
    line = {
        "id": record.id,
        "custom_id": custom_id,
        "response": None if answer is None else _response(record, answer),
        "error": None if answer is not None else _error(record),
        "attempts": record.trail,
    }
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode(errors="replace") + b"\n"


def base_id(job_id: str) -> str:
    """The id of a line's first job: a job that failed in an earlier run has a successor, `ID.1`, `ID.2`, ..."""
    return job_id.partition(".")[0]


def successor(job_id: str) -> str:
    """The id of the job that takes the place of one that failed in an earlier run."""
    base, _, number = job_id.partition(".")
    return f"{base}.{int(number or 0) + 1}"


def _response(record: JobRecord, answer: Answer) -> dict[str, Any]:
    return {"status_code": 200, "request_id": record.id, "body": _completion(record, answer)}


def _completion(record: JobRecord, answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": answer.text or None if answer.tool_calls else answer.text,
    }
    if answer.tool_calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in answer.tool_calls
        ]
    usage = answer.usage
    return {
        "id": f"chatcmpl-{record.id}",
        "object": "chat.completion",
        "created": record.ended_ms // 1000,
        "model": answer.model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish_reason}],
        "usage": {
            "prompt_tokens": usage.input_tokens,
            "completion_tokens": usage.output_tokens,
            "total_tokens": usage.input_tokens + usage.output_tokens,
            "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        },
    }


def _error(record: JobRecord) -> dict[str, str]:
    error = record.error or {}
    return {"code": str(error.get("code", record.state)), "message": str(error.get("message", "no reason on record"))}
