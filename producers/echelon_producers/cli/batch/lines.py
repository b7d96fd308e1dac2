"""The lines of an input file: what job each of them asks for."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID, uuid5

from echelon_configs import Configuration, UnknownTarget
from echelon_producers.draft import MOST_REQUEST_BYTES, Drafter
from echelon_producers.errors import SubmitInvalid
from echelon_workers.ledger.verbs import NewJob

from .openai_line import LineInvalid, is_openai_line, read_openai_line

#: The namespace of the ids of these jobs (RFC 9562, version 5): the same line of the same file is the same job.
_IDS = UUID("6f0d6b0a-7d0f-5c39-9a38-0d9f3c1f5a10")

#: A request may have 8 MB; a line holds it with escapes and its options.
_MOST_BYTES = 4 * MOST_REQUEST_BYTES
#: What a line may say beside the fields of a request.
_OPTIONS = ("target", "node", "priority", "deadline_s")


@dataclass(frozen=True, slots=True)
class Line:
    """One line that is a job: its number from 1, what its author calls it, and the job."""

    number: int
    custom_id: str
    job: NewJob


@dataclass(frozen=True, slots=True)
class BadLine:
    """One line that is not a job, and why: one cause a line of text."""

    number: int
    why: str


def read_lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, each with its number from 1; of one that is far too long, only the beginning."""
    number = 0
    while raw := file.readline(_MOST_BYTES + 1):
        number += 1
        whole = raw
        while not raw.endswith(b"\n") and len(raw) > _MOST_BYTES:
            raw = file.readline(_MOST_BYTES + 1)
        if whole.strip():
            yield number, whole.removeprefix(b"\xef\xbb\xbf") if number == 1 else whole


def count_lines(path: Path) -> int:
    """How many lines the file has that may be jobs: for a progress bar. Raises OSError."""
    with path.open("rb") as file:
        return sum(1 for line in file if line.strip())


def job_id(raw: bytes, number: int, custom_id: str, target: str | None) -> str:
    """The id of a line's job, the same whenever the same line is run for the same target."""
    content = hashlib.sha256(raw.strip()).hexdigest()
    return str(uuid5(_IDS, json.dumps([content, custom_id, target, number])))


class LineReader:
    """Reads lines under one configuration; `target` is for lines that name none."""

    def __init__(self, configuration: Configuration, target: str | None) -> None:
        self._configuration = configuration
        self._drafter = Drafter(configuration)
        self._target = target

    def read(self, raw: bytes, number: int) -> Line | BadLine:
        """Read one line."""
        try:
            custom_id, fields = _fields(_decoded(raw), number)
            fields = _aimed(fields, self._target, self._configuration)
            fields["id"] = job_id(raw, number, custom_id, self._target)
            return Line(number, custom_id, self._drafter.draft(fields))
        except (LineInvalid, SubmitInvalid) as wrong:
            return BadLine(number, str(wrong))


def _decoded(raw: bytes) -> Mapping[str, Any]:
    if len(raw) > _MOST_BYTES:
        raise LineInvalid(
            f"the line has more than {_MOST_BYTES} bytes (would be right: one job a line, each on one line)"
        )
    try:
        said = json.loads(raw.decode())
    except UnicodeDecodeError as wrong:
        raise LineInvalid(f"not UTF-8 at byte {wrong.start + 1} (would be right: text in UTF-8)") from None
    except json.JSONDecodeError as wrong:
        raise LineInvalid(
            f"not JSON: {wrong.msg} at column {wrong.colno} (would be right: an object on one line)"
        ) from None
    except (ValueError, RecursionError) as wrong:
        raise LineInvalid(f"not JSON that can be read: {wrong}") from None
    if not isinstance(said, dict):
        raise LineInvalid(
            'not an object (would be right: {"prompt": ...}, {"messages": [...]} or an OpenAI Batch line)'
        )
    return said


def _fields(said: Mapping[str, Any], number: int) -> tuple[str, dict[str, Any]]:
    """The line's own name, and the job's fields."""
    custom_id = said.get("custom_id", f"line-{number}")
    if not isinstance(custom_id, str) or not custom_id:
        raise LineInvalid("custom_id: not a text (would be right: a name of your own for this line)")
    if is_openai_line(said):
        return custom_id, read_openai_line(said)
    if "id" in said:
        raise LineInvalid("id: unknown field (did you mean custom_id?)")
    return custom_id, {name: value for name, value in said.items() if name != "custom_id"}


def _aimed(fields: dict[str, Any], target: str | None, configuration: Configuration) -> dict[str, Any]:
    """A line's own target wins; the model of an OpenAI line counts as one where it is the name of a target."""
    model = fields.pop("model", None)
    if fields.get("target") is None and model is not None:
        fields["target"] = _as_target(model, configuration)
        if fields["target"] is None and target is None:
            raise LineInvalid(
                f"body.model: {model!r:.100} is not a target (would be right: --target, or a target here)"
            )
    if fields.get("target") is None and fields.get("node") is None:
        fields["target"] = target
    return fields


def _as_target(model: object, configuration: Configuration) -> str | None:
    if not isinstance(model, str):
        return None
    try:
        configuration.resolve(model)
    except UnknownTarget:
        return None
    return model
