"""`inherits_from`: a model file's keys over those of the files it names, with circles found."""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from echelon_configs.reading.drafts import Reading
from echelon_configs.reading.validate import shown
from echelon_configs.text.files import YAML_SUFFIXES
from echelon_configs.text.marked import Marked

# What belongs to one file and is not handed down.
_OWN = ("inherits_from", "description", "enabled")


@dataclass(slots=True)
class Inheritance:
    """Model files by path, each with what it inherits merged in. `parents` holds those that others name."""

    reading: Reading
    documents: dict[Path, Marked]
    parents: set[Path] = field(default_factory=set)
    _merged: dict[Path, Marked] = field(default_factory=dict)
    _reported: set[frozenset[Path]] = field(default_factory=set)

    def merged(self, path: Path) -> Marked:
        """The file's keys over its parents'; of several parents the later one wins."""
        return self._merge(path, ())

    def _merge(self, path: Path, trail: tuple[Path, ...]) -> Marked:
        if path in self._merged:
            return self._merged[path]
        document = self.documents[path]
        result = document.without("inherits_from")
        inherited: Marked | None = None
        for item in self._named(document):
            parent = self._find(path, item)
            if parent is None:
                continue
            self.parents.add(parent)
            if parent == path or parent in trail:
                self._report_circle(item, (*trail, path), parent)
                continue
            handed_down = self._merge(parent, (*trail, path)).without(*_OWN)
            inherited = handed_down if inherited is None else over(inherited, handed_down)
        if inherited is not None:
            result = over(inherited, result)
        self._merged[path] = result
        return result

    def _named(self, document: Marked) -> list[Marked]:
        node = document.get("inherits_from")
        if node is None or node.value is None:
            return []
        items = node.value if isinstance(node.value, list) else [node]
        wrong = [item for item in items if not isinstance(item.value, str)]
        for item in wrong:
            self.reading.problems.error(
                item, f"{shown(item.value)} is not the name of a file", "write a path or a name"
            )
        return [item for item in items if isinstance(item.value, str)]

    def _find(self, path: Path, item: Marked) -> Path | None:
        name = str(item.value)
        root = self.reading.files.root
        known = {os.path.normpath(document): document for document in self.documents}
        for base in [path.parent, *([root / "llms", root] if root is not None else [])]:
            for suffix in ("", *YAML_SUFFIXES):
                candidate = os.path.normpath(f"{base}/{name}{suffix}")
                if candidate in known:
                    return known[candidate]
        same = [document for document in self.documents if document.name.rpartition(".")[0] == name]
        if len(same) == 1:
            return same[0]
        names = [document.name.rpartition(".")[0] for document in self.documents if document != path]
        advice = self.reading.problems.did_you_mean(name, names)
        self.reading.problems.error(item, f"there is no model file {shown(name)}", advice)
        return None

    def _report_circle(self, item: Marked, trail: tuple[Path, ...], again: Path) -> None:
        circle = [*trail[trail.index(again) :], again]
        if frozenset(circle) not in self._reported:
            self._reported.add(frozenset(circle))
            chain = " -> ".join(path.name for path in circle)
            self.reading.problems.error(item, f"inherits_from goes in a circle: {chain}", "remove one of these lines")


def over(below: Marked, above: Marked) -> Marked:
    """Two mappings as one: where both have a mapping they are merged, else `above` wins."""
    if below.mapping is None or above.mapping is None:
        return above
    merged = dict(below.mapping)
    for key, child in above.mapping.items():
        merged[key] = over(merged[key], child) if key in merged else child
    return replace(above, value=merged)
