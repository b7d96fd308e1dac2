"""What the API sends: JSON, and errors in one form."""

import json
from collections.abc import Mapping
from typing import Any

from fastapi import Response


class JsonReply(Response):
    """A JSON document. Nothing the API says may be kept by a cache on the way."""

    media_type = "application/json"

    def __init__(self, content: object, status_code: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(content, status_code, {"Cache-Control": "no-store", **(headers or {})})

    def render(self, content: Any) -> bytes:
        """A lone surrogate, which UTF-8 cannot say, becomes `\\udXXX`: in a JSON string that is its escape."""
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def error_reply(
    status: int, code: str, message: str, where: str, headers: Mapping[str, str] | None = None, **more: object
) -> JsonReply:
    """An error: `code` for programs, `message` says what is wrong and would be right, `where` in what was sent."""
    return JsonReply({"error": {"code": code, "message": message, "where": where, **more}}, status, headers)
