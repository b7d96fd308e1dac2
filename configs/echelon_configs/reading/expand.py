"""`${ENV}` in a model file: expanded everywhere but in `api_key` and `headers`, which keep it as a reference."""

from dataclasses import replace

from echelon_configs.reading.drafts import Reading
from echelon_configs.references import BROKEN_REFERENCE, expand, references_in, whole_reference
from echelon_configs.text.leaks import has_userinfo, is_literal_secret, is_secret_name
from echelon_configs.text.marked import Marked
from echelon_configs.text.scalars import ScalarError, scalar

KEPT = ("api_key", "headers")

# Without these two a call cannot be made, so an unset variable stays visible in them.
_NEEDED = ("base_url", "model_name")


def expanded(document: Marked, reading: Reading, unset: list[str]) -> Marked:
    """The file with its variables filled in; the names of those that were needed and had no value go to `unset`."""
    mapping = {
        key: child if key in KEPT else _expand(child, reading, unset, needed=key in _NEEDED)
        for key, child in (document.mapping or {}).items()
    }
    return replace(document, value=mapping)


def _expand(node: Marked, reading: Reading, unset: list[str], *, needed: bool) -> Marked:
    if isinstance(node.value, dict):
        inner = {key: _expand(child, reading, unset, needed=needed) for key, child in node.value.items()}
        return replace(node, value=inner)
    if isinstance(node.value, list):
        return replace(node, value=[_expand(child, reading, unset, needed=needed) for child in node.value])
    if isinstance(node.value, str) and "${" in node.value:
        return _expand_text(node, node.value, reading, unset, needed)
    return node


def _expand_text(node: Marked, text: str, reading: Reading, unset: list[str], needed: bool) -> Marked:
    problems = reading.problems
    if BROKEN_REFERENCE.search(text):
        problems.error(node, "holds a `${` that is not a reference", "write ${NAME} or ${NAME:default}")
        return replace(node, value=None)
    secret = [reference.env for reference in references_in(text) if is_secret_name(reference.env)]
    if secret:
        problems.error(
            node,
            f"${{{secret[0]}}} would put a secret into the published configuration",
            "secrets stand only in api_key and headers, where they stay references",
        )
        return replace(node, value=None)
    missing: list[str] = []
    result = expand(text, reading.environment, missing.append)
    if has_userinfo(result) or is_literal_secret(result):
        problems.error(node, "a variable in it holds a secret", "secrets stand only in api_key and headers")
        return replace(node, value=None)
    for name in missing:
        problems.warning(node, f"${{{name}}} is not set", f"export {name}=..., or write ${{{name}:default}}")
    if missing and needed:
        unset.extend(missing)
        return node
    if missing and whole_reference(text):
        return replace(node, value=None)
    return replace(node, value=_typed(node, result, reading))


def _typed(node: Marked, text: str, reading: Reading) -> str | int | float | bool | None:
    """What stood without quotes is read as YAML would read it: `${MAX_TOKENS:2000}` is a number."""
    if not node.plain:
        return text
    try:
        return scalar(text, plain=True)
    except ScalarError as invalid:
        reading.problems.error(node, str(invalid), invalid.advice)
        return None
