"""A value as it was written, with its file, line and path."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from echelon_configs.text.leaks import is_literal_secret
from echelon_configs.text.scalars import Scalar

WHOLE = "(file)"

_SIMPLE_KEY = re.compile(r"[\w./:@+-]{1,80}")


@dataclass(slots=True)
class Marked:
    """A scalar, a mapping or a list. `path` is as written: `task_groups.fast_group.echelon1.models[0]`."""

    value: "Scalar | dict[str, Marked] | list[Marked]"
    file: str
    line: int
    path: str = WHOLE
    key_line: int = 0
    plain: bool = False  # a scalar without quotes

    @property
    def mapping(self) -> "dict[str, Marked] | None":
        return self.value if isinstance(self.value, dict) else None

    def get(self, key: str) -> "Marked | None":
        """The value under `key`, when this is a mapping that has it."""
        return self.value.get(key) if isinstance(self.value, dict) else None

    def key(self, key: str) -> "Place":
        """Where `key` of this mapping was written."""
        child = self.get(key)
        if child is None:
            return Place(self.file, self.line, self.path)
        return Place(child.file, child.key_line or child.line, child.path)

    def at(self, location: tuple[str | int, ...]) -> "tuple[Marked, tuple[str | int, ...]]":
        """The deepest value there is on the way to `location`, and the rest of the way."""
        node = self
        for depth, step in enumerate(location):
            child: Marked | None = None
            if isinstance(node.value, dict):
                child = node.value.get(str(step))
            elif isinstance(node.value, list) and isinstance(step, int) and step < len(node.value):
                child = node.value[step]
            if child is None:
                return node, location[depth:]
            node = child
        return node, ()

    def plain_data(self) -> Any:
        """The value without its marks: dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: child.plain_data() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain_data() for child in self.value]
        return self.value

    def without(self, *keys: str) -> "Marked":
        """The same mapping without some of its keys."""
        mapping = self.mapping or {}
        return replace(self, value={key: child for key, child in mapping.items() if key not in keys})

    def scalars(self) -> "Iterator[Marked]":
        """Every scalar below, in the order written."""
        if isinstance(self.value, dict):
            for child in self.value.values():
                yield from child.scalars()
        elif isinstance(self.value, list):
            for child in self.value:
                yield from child.scalars()
        else:
            yield self


@dataclass(frozen=True, slots=True)
class Place:
    """A file, a line, a path: where a problem is."""

    file: str
    line: int = 1
    path: str = WHOLE


def step(path: str, key: str | int) -> str:
    """The path one step further; a key that looks like a secret is not repeated."""
    if isinstance(key, int):
        return f"{'' if path == WHOLE else path}[{key}]"
    written = key if _SIMPLE_KEY.fullmatch(key) else repr(key[:60])
    shown = "<hidden>" if is_literal_secret(key) else written
    return shown if path == WHOLE else f"{path}.{shown}"
