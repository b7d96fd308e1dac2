"""The key and the headers of a model file: secrets only as `${ENV}`, and kept so."""

import re

from echelon_configs.reading.drafts import Reading
from echelon_configs.references import (
    BROKEN_REFERENCE,
    HARMLESS_DEFAULTS,
    SecretReference,
    SecretTemplate,
    references_in,
    whole_reference,
)
from echelon_configs.text.leaks import is_literal_secret, is_secret_header, is_secret_under
from echelon_configs.text.marked import Marked

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_SCHEME = re.compile(r"(?:[A-Za-z][A-Za-z-]{0,19}[ \t]+)?(\$\{[^}]*\})")
_BEARER = re.compile(r"(?i)bearer[ \t]+")


def read_api_key(node: Marked, reading: Reading) -> SecretReference | None:
    """Where the key is; None when the file says that none is needed, or says it wrongly."""
    if node.value is None or node.value == "" or node.value == "none":
        return None
    reference = whole_reference(_BEARER.sub("", node.value, count=1)) if isinstance(node.value, str) else None
    if reference is not None:
        _check_default(reference, node, reading)
        return reference
    _refuse(
        node,
        "api_key",
        "api_key is not a reference",
        "write ${NAME_OF_THE_VARIABLE}, or none where no key is asked for",
        reading,
    )
    return None


def read_headers(node: Marked | None, reading: Reading) -> dict[str, str | SecretTemplate]:
    """The headers; those with `${ENV}` in them stay templates."""
    headers: dict[str, str | SecretTemplate] = {}
    for name, child in ((node.mapping if node else None) or {}).items():
        if not _HEADER_NAME.fullmatch(name):
            reading.problems.error(child, "this is not the name of a header", "use letters, digits and `-`")
        elif isinstance(child.value, str):
            headers[name] = _header(name, child, child.value, reading)
    return headers


def _header(name: str, node: Marked, text: str, reading: Reading) -> str | SecretTemplate:
    if any(ord(character) < 32 or ord(character) > 126 for character in text):
        reading.problems.error(node, "a header's value takes printable ASCII only, on one line", "remove the rest")
    if BROKEN_REFERENCE.search(text):
        reading.problems.error(node, "holds a `${` that is not a reference", "write ${NAME} or ${NAME:default}")
    secret = is_secret_header(name)
    if secret and not _SCHEME.fullmatch(text.strip()):
        _refuse(
            node,
            name,
            f"{name} carries a secret and is not a reference",
            "write ${NAME_OF_THE_VARIABLE}, or Bearer ${NAME_OF_THE_VARIABLE}",
            reading,
        )
        return ""
    if secret:
        for reference in references_in(text):
            _check_default(reference, node, reading)
    return SecretTemplate(template=text) if "${" in text else text


def _check_default(reference: SecretReference, node: Marked, reading: Reading) -> None:
    if (
        reference.default is not None
        and reference.default not in HARMLESS_DEFAULTS
        and not is_literal_secret(str(node.value))
    ):
        allowed = ", ".join(default for default in HARMLESS_DEFAULTS if default)
        reading.problems.error(
            node, "the default of a secret is itself written out", f"leave it out, or use one of {allowed}"
        )


def _refuse(node: Marked, name: str, message: str, advice: str, reading: Reading) -> None:
    """Says so once: a value that looks like a secret has been refused already, when the file was read."""
    if not is_secret_under(name, str(node.value)):
        reading.problems.error(node, message, advice)
