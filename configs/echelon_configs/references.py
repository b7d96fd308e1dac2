"""`${ENV}` and `${ENV:default}`: expanded where harmless, kept as a reference where the value is a secret."""

import re
from collections.abc import Callable, Mapping

from pydantic import BaseModel, ConfigDict, Field

# `:-` as in a shell is read like `:`.
REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-?([^{}]{0,500}))?\}")
BROKEN_REFERENCE = re.compile(r"\$\{(?![A-Za-z_][A-Za-z0-9_]*(?::-?[^{}]{0,500})?\})")

# What a server that asks for no key is given all the same.
HARMLESS_DEFAULTS = ("", "none", "EMPTY", "not-needed", "dummy", "ollama")


class SecretReference(BaseModel):
    """The name of the environment variable that holds a secret; never the secret itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    env: str = Field(description="name of the environment variable")
    default: str | None = Field(default=None, description="a harmless placeholder for a server that asks for no key")

    def resolve(self, environment: Mapping[str, str]) -> str | None:
        """The secret, the placeholder when the variable is unset or empty, or None."""
        return environment.get(self.env) or self.default

    def __str__(self) -> str:
        return f"${{{self.env}}}" if self.default is None else f"${{{self.env}:{self.default}}}"


class SecretTemplate(BaseModel):
    """A header's value with `${ENV}` in it, such as `Bearer ${OPENAI_API_KEY}`; filled in only when a call is made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    template: str = Field(description="the text, with `${ENV}` where a secret goes")

    @property
    def references(self) -> tuple[SecretReference, ...]:
        return references_in(self.template)

    def resolve(self, environment: Mapping[str, str]) -> str | None:
        """The whole value, or None when one of its variables is unset."""
        values = {reference.env: reference.resolve(environment) for reference in self.references}
        if any(value is None for value in values.values()):
            return None
        return REFERENCE.sub(lambda match: values[match.group(1)] or "", self.template)

    def __str__(self) -> str:
        return self.template


def references_in(text: str) -> tuple[SecretReference, ...]:
    """Every `${ENV}` in `text`, in the order written."""
    return tuple(SecretReference(env=match.group(1), default=match.group(2)) for match in REFERENCE.finditer(text))


def whole_reference(text: str) -> SecretReference | None:
    """The reference that `text` is, when it is one and nothing else."""
    match = REFERENCE.fullmatch(text.strip())
    return SecretReference(env=match.group(1), default=match.group(2)) if match else None


def expand(text: str, environment: Mapping[str, str], unset: Callable[[str], None]) -> str:
    """`text` with each reference replaced; one without a value stays as it is, and `unset` hears its name."""

    def value(match: re.Match[str]) -> str:
        found = environment.get(match.group(1)) or match.group(2)
        if found is None:
            unset(match.group(1))
            return match.group()
        return found

    return REFERENCE.sub(value, text)
