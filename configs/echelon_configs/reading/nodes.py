"""Reads workflow nodes: `nodes:` with their keys under `config:`, and `workflow_nodes:` with their keys flat."""

import difflib
from dataclasses import replace

from echelon_configs.problems import Problems
from echelon_configs.raw.cluster import RawWorkflow
from echelon_configs.raw.nodes import RawNode
from echelon_configs.reading.drafts import Draft, DraftNode, Reading
from echelon_configs.reading.names import check_name
from echelon_configs.reading.rates import resolve_rate
from echelon_configs.reading.validate import report_unknown, shown, validate
from echelon_configs.text.marked import Marked, Place

LLM_NODE = "llm_node"

# The same setting in a short and a long spelling.
_SPELLINGS = (
    ("timeout", ("task_config", "timeout")),
    ("max_retries", ("task_config", "max_retries")),
    ("concurrency_limit", ("concurrency_config", "limit")),
    ("queue_size", ("concurrency_config", "queue_size")),
)


def read_workflows(draft: Draft, reading: Reading) -> None:
    """Every node of the files under `workflows/`."""
    for path in reading.files.workflows():
        document = reading.files.document(path)
        if document is None:
            continue
        report_unknown(document, tuple(RawWorkflow.model_fields), reading.problems)
        read_nodes(document, draft, reading)


def read_nodes(document: Marked, draft: Draft, reading: Reading) -> None:
    """The nodes of one document, in both forms."""
    for section in RawWorkflow.model_fields:
        node = document.get(section)
        if node is None or node.value is None:
            continue
        if node.mapping is None:
            reading.problems.error(node, "a mapping of nodes is expected", "write NAME: with its keys below it")
            continue
        for name, written in node.mapping.items():
            _read_node(name, written, draft, reading)


def _read_node(name: str, written: Marked, draft: Draft, reading: Reading) -> None:
    problems = reading.problems
    place = Place(written.file, written.key_line, written.path)
    check_name(name, "a node", place, problems)
    if name in draft.nodes:
        first = draft.nodes[name].node
        problems.error(place, f"node {shown(name)} is given twice", f"it stands at {first.file}:{first.key_line} too")
        return
    if _is_foreign(written, problems):
        return
    flat = _flattened(written, problems)
    raw = validate(RawNode, flat, problems, reading.registry)
    if raw is not None:
        _report_two_spellings(flat, problems)
    rates = raw.rate_limiting if raw else None
    rate = resolve_rate(rates, flat.get("rate_limiting"), draft.rate_limiting, problems)
    draft.nodes[name] = DraftNode(name, flat, raw, rate)


def _is_foreign(written: Marked, problems: Problems) -> bool:
    """A node of a type that calls no model is somebody else's; it is left out, and said so."""
    kind = written.get("type")
    if kind is None or not isinstance(kind.value, str) or kind.value == LLM_NODE:
        return False
    if _is_misspelt(kind.value):
        problems.error(kind, f"there is no type {shown(kind.value)}", f"did you mean {LLM_NODE}?")
    else:
        problems.warning(
            kind, f"a node of type {shown(kind.value)} is left out", f"only nodes of type {LLM_NODE} submit jobs"
        )
    return True


def _is_misspelt(kind: str) -> bool:
    """`llm_nod` and `llm` are meant as llm_node; `tool_node`, though it looks alike, is not."""
    return kind.lower().startswith("llm") or difflib.SequenceMatcher(None, kind.lower()[:40], LLM_NODE).ratio() >= 0.8


def _flattened(written: Marked, problems: Problems) -> Marked:
    """The node with the keys under `config:` moved up beside `type:`."""
    config = written.get("config")
    if written.mapping is None or config is None or config.mapping is None:
        return written
    merged = {key: child for key, child in written.mapping.items() if key != "config"}
    for key, child in config.mapping.items():
        if key in merged or key in ("type", "config"):
            problems.error(
                config.key(key),
                f"{shown(key)} is given twice",
                "keep the one beside `type:` or the one under `config:`",
            )
        merged.setdefault(key, child)
    return replace(written, value=merged)


def _report_two_spellings(node: Marked, problems: Problems) -> None:
    for short, (section, key) in _SPELLINGS:
        inner = (node.get(section) or node).get(key) if node.get(section) is not None else None
        if node.get(short) is not None and inner is not None:
            problems.error(
                node.key(short), f"{short} is given twice: here and as {section}.{key}", "keep one of the two"
            )
