"""YAML text to marked values, with every bound in place: depth, size, aliases, duplicates, tags.

Works on the parser's events instead of PyYAML's own composer: that one recurses (a deep file ends the process), lets
aliases multiply, and keeps the last of two equal keys in silence.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from echelon_configs.problems import Problems
from echelon_configs.text.leaks import is_literal_secret
from echelon_configs.text.marked import WHOLE, Marked, Place, step
from echelon_configs.text.scalars import ScalarError, scalar

DEEPEST = 40
MOST_VALUES = 50_000  # in one file, with every alias counted as often as it is used

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_COLLECTION_TAGS = frozenset({None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})


def compose(text: str, file: str, problems: Problems) -> Marked | None:
    """The file's one document; None when it is empty or cannot be read, with the reason among `problems`."""
    composer = _Composer(file, problems)
    try:
        for event in _events(text):
            composer.take(event)
    except _UnreadableError as unreadable:
        problems.error(Place(file, unreadable.line), unreadable.message, unreadable.advice)
        return None
    return composer.root


class _UnreadableError(Exception):
    """The rest of the file makes no sense after this."""

    def __init__(self, line: int, message: str, advice: str) -> None:
        self.line = line
        self.message = message
        self.advice = advice
        super().__init__(message)


def _events(text: str) -> Iterator[yaml.Event]:
    try:
        yield from yaml.parse(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise _UnreadableError(line, f"is not YAML: {_said(error)}", _advice(error, text, line)) from None
    except yaml.reader.ReaderError:
        odd = yaml.reader.Reader.NON_PRINTABLE.search(text)
        line = text.count("\n", 0, odd.start() if odd else 0) + 1
        raise _UnreadableError(line, "holds a control character", "remove it; YAML takes printable text only") from None
    except (yaml.YAMLError, ValueError, UnicodeError):
        raise _UnreadableError(1, "is not YAML", "check the file in an editor that knows YAML") from None


def _said(error: yaml.MarkedYAMLError) -> str:
    said = " ".join(part for part in (error.context, error.problem) if part) or "the parser gave no reason"
    return "a value cannot be read" if is_literal_secret(said) else said[:200]


def _advice(error: yaml.MarkedYAMLError, text: str, line: int) -> str:
    said = f"{error.context} {error.problem}"
    written = text.splitlines()[line - 1 : line]
    if written and "\t" in written[0][: len(written[0]) - len(written[0].lstrip())]:
        return "indent with spaces, not tabs"
    if written and "flow" in said and "${" in written[0]:
        return "inside { } and [ ] put ${...} in quotes"
    if "mapping values are not allowed" in said or "expected ':'" in said:
        return "check the indentation, and quote text that holds `: `"
    if "simple key" in said or "block end" in said or "block mapping" in said:
        return "check the indentation of this line and the ones above it"
    return "check the indentation, quotes and brackets near this line"


@dataclass(slots=True)
class _Frame:
    """A collection that is still open."""

    node: Marked
    anchor: str | None
    key: Marked | None = None
    merges: list[Marked] = field(default_factory=list)
    size: int = 1


class _Composer:
    def __init__(self, file: str, problems: Problems) -> None:
        self.root: Marked | None = None
        self._file = file
        self._problems = problems
        self._open: list[_Frame] = []
        self._anchors: dict[str, tuple[Marked, int]] = {}
        self._values = 0
        self._documents = 0

    def take(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1 if event.start_mark else 1
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise _UnreadableError(
                        line, "holds a second document", "one document a file: remove the `---` and what follows"
                    )
            case yaml.ScalarEvent():
                self._scalar(event, line)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._start(event, line)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._end()
            case yaml.AliasEvent():
                self._alias(event, line)

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> None:
        frame = self._open[-1] if self._open else None
        plain = not event.style
        if frame and isinstance(frame.node.value, dict) and frame.key is None:
            # A key is its text, whatever YAML would make of it: `on:` names something called "on".
            self._key(frame, Marked(event.value, self._file, line, plain=plain))
            return
        node = Marked(None, self._file, line, self._path(frame), self._key_line(frame, line), plain)
        try:
            node.value = scalar(event.value, plain=plain and event.implicit[0], tag=event.tag)
        except ScalarError as invalid:
            self._problems.error(node, str(invalid), invalid.advice)
        self._count(1, line)
        self._remember(event.anchor, node, 1)
        self._put(frame, node, 1)

    def _key(self, frame: _Frame, key: Marked) -> None:
        if key.value == "":
            raise _UnreadableError(key.line, "a key has no name", "write NAME: VALUE")
        frame.key = key

    def _start(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent, line: int) -> None:
        frame = self._open[-1] if self._open else None
        if frame and isinstance(frame.node.value, dict) and frame.key is None:
            raise _UnreadableError(
                line, "a key is a list or a mapping", "a key is plain text; quote what begins with [ or {"
            )
        if event.tag not in _COLLECTION_TAGS:
            raise _UnreadableError(line, "a YAML tag of this kind is not read", "write the plain value, without a tag")
        if len(self._open) >= DEEPEST:
            raise _UnreadableError(line, f"is nested more than {DEEPEST} levels deep", "nothing here needs so many")
        self._count(1, line)
        value: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
        node = Marked(value, self._file, line, self._path(frame), self._key_line(frame, line))
        self._open.append(_Frame(node, event.anchor))

    def _end(self) -> None:
        frame = self._open.pop()
        if isinstance(frame.node.value, dict):
            for source in frame.merges:
                for key, child in (source.mapping or {}).items():
                    frame.node.value.setdefault(key, child)
        self._remember(frame.anchor, frame.node, frame.size)
        self._put(self._open[-1] if self._open else None, frame.node, frame.size)

    def _alias(self, event: yaml.AliasEvent, line: int) -> None:
        frame = self._open[-1] if self._open else None
        if frame and isinstance(frame.node.value, dict) and frame.key is None:
            raise _UnreadableError(line, "a key is an alias", "write the key out")
        name = event.anchor or ""
        if any(opened.anchor == name for opened in self._open):
            raise _UnreadableError(line, f"the alias {_shown(name)} stands inside what it names", "break the circle")
        if name not in self._anchors:
            raise _UnreadableError(
                line,
                f"the alias {_shown(name)} names nothing above",
                f"write &{_shown(name)} where the value is first given",
            )
        target, size = self._anchors[name]
        self._count(size, line)
        self._put(frame, replace(target, path=self._path(frame), line=line, key_line=self._key_line(frame, line)), size)

    def _put(self, frame: _Frame | None, node: Marked, size: int) -> None:
        if frame is None:
            self.root = node
            return
        frame.size += size
        if isinstance(frame.node.value, list):
            frame.node.value.append(node)
            return
        key, frame.key = frame.key, None
        if key is not None and isinstance(frame.node.value, dict):
            self._put_under(frame, frame.node.value, key, node)

    def _put_under(self, frame: _Frame, mapping: dict[str, Marked], key: Marked, node: Marked) -> None:
        name = str(key.value)
        if name == "<<" and key.plain:
            self._merge(frame, node)
        elif name in mapping:
            first = mapping[name].key_line
            self._problems.error(
                Place(self._file, key.line, node.path),
                f"is given twice: on line {first} and on line {key.line}",
                "keep one of the two",
            )
        else:
            mapping[name] = node

    def _merge(self, frame: _Frame, node: Marked) -> None:
        sources = node.value if isinstance(node.value, list) else [node]
        for source in sources:
            if not isinstance(source.value, dict):
                raise _UnreadableError(
                    node.key_line, "`<<` merges something that is not a mapping", "write <<: *NAME of a mapping"
                )
            frame.merges.append(source)

    def _remember(self, anchor: str | None, node: Marked, size: int) -> None:
        if anchor:
            self._anchors[anchor] = (node, size)

    def _count(self, values: int, line: int) -> None:
        self._values += values
        if self._values > MOST_VALUES:
            raise _UnreadableError(
                line,
                f"holds more than {MOST_VALUES:,} values, aliases written out",
                "use fewer aliases, or split the file",
            )

    def _path(self, frame: _Frame | None) -> str:
        if frame is None:
            return WHOLE
        if isinstance(frame.node.value, list):
            return step(frame.node.path, len(frame.node.value))
        return step(frame.node.path, str(frame.key.value) if frame.key else "")

    def _key_line(self, frame: _Frame | None, line: int) -> int:
        return frame.key.line if frame and frame.key else line


def _shown(name: str) -> str:
    return "<hidden>" if is_literal_secret(name) else name[:60]
