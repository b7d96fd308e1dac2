"""What is known about providers: the endpoint, the variable that holds the key, and how model names begin.

A model that a group names needs no file of its own when its name follows these conventions.
"""

import re
from dataclasses import dataclass

from echelon_configs.references import SecretReference


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """One provider of models as people name it; `provider` is the wire format it speaks."""

    name: str
    provider: str
    key_env: str | None
    prefixes: tuple[str, ...]  # cut off: `openai-gpt-4.1` is the provider's `gpt-4.1`
    families: tuple[str, ...] = ()  # kept: `claude-sonnet-4-6` is the provider's own name
    base_url: str | None = None  # None: the provider library's own
    key_default: str | None = None

    @property
    def api_key(self) -> SecretReference | None:
        return SecretReference(env=self.key_env, default=self.key_default) if self.key_env else None


VENDORS: tuple[Vendor, ...] = (
    Vendor(
        name="openai",
        provider="openai",
        key_env="OPENAI_API_KEY",
        prefixes=("openai-", "openai/"),
        families=("gpt-", "gpt3", "gpt4", "gpt5", "gpt6", "o1", "o3", "o4", "chatgpt-"),
    ),
    Vendor(
        name="anthropic",
        provider="anthropic",
        key_env="ANTHROPIC_API_KEY",
        prefixes=("anthropic-", "anthropic/"),
        families=("claude-",),
    ),
    Vendor(
        name="gemini",
        provider="gemini",
        key_env="GEMINI_API_KEY",
        prefixes=("google-", "google/", "gemini/"),
        families=("gemini-", "gemma-"),
    ),
    Vendor(
        name="mistral",
        provider="openai_compatible",
        key_env="MISTRAL_API_KEY",
        prefixes=("mistral/",),
        families=("mistral-", "ministral-", "magistral-", "codestral-", "devstral-"),
        base_url="https://api.mistral.ai/v1",
    ),
    Vendor(
        name="groq",
        provider="openai_compatible",
        key_env="GROQ_API_KEY",
        prefixes=("groq-", "groq/"),
        base_url="https://api.groq.com/openai/v1",
    ),
    Vendor(
        name="deepseek",
        provider="openai_compatible",
        key_env="DEEPSEEK_API_KEY",
        prefixes=("deepseek/",),
        families=("deepseek-",),
        base_url="https://api.deepseek.com/v1",
    ),
    Vendor(
        name="openrouter",
        provider="openai_compatible",
        key_env="OPENROUTER_API_KEY",
        prefixes=("openrouter-", "openrouter/"),
        base_url="https://openrouter.ai/api/v1",
    ),
    Vendor(
        name="ollama",
        provider="openai_compatible",
        key_env=None,
        prefixes=("ollama-", "ollama/"),
        base_url="${OLLAMA_BASE_URL:http://127.0.0.1:11434/v1}",
    ),
    Vendor(
        name="vllm",
        provider="openai_compatible",
        key_env="VLLM_API_KEY",
        key_default="EMPTY",
        prefixes=("vllm-", "vllm/"),
        base_url="${VLLM_BASE_URL:http://127.0.0.1:8000/v1}",
    ),
)

_BY_NAME = {vendor.name: vendor for vendor in VENDORS}

# Short names in use, and the provider's own name for what is meant today.
_ALIASES = {
    "claude-opus": "claude-opus-4-8",
    "claude-sonnet": "claude-sonnet-4-6",
    "claude-haiku": "claude-haiku-4-5",
    "gemini-pro": "gemini-3.1-pro-preview",
    "gemini-flash": "gemini-3.8-flash",
    "gemini-flash-lite": "gemini-3.5-flash-lite",
    "mistral-large": "mistral-large-latest",
    "mistral-medium": "mistral-medium-latest",
    "mistral-small": "mistral-small-latest",
}


def vendor_called(name: str) -> Vendor | None:
    """The vendor of this name (`openai`, `groq`, ...); None for `openai_compatible` and users' own."""
    return _BY_NAME.get(name)


def by_convention(instance: str) -> tuple[Vendor, str] | None:
    """The vendor and its own model name for an instance without a file, or None when the name says neither."""
    for vendor in VENDORS:
        for prefix in vendor.prefixes:
            if instance.startswith(prefix) and len(instance) > len(prefix):
                return vendor, _own_name(instance.removeprefix(prefix))
        if instance.startswith(vendor.families):
            return vendor, _own_name(instance)
    return None


def _own_name(name: str) -> str:
    """`gpt4` and `gpt3.5-turbo`, as people write them, are `gpt-4` and `gpt-3.5-turbo` at the provider."""
    dashed = re.sub(r"^gpt(?=\d)", "gpt-", name)
    return _ALIASES.get(dashed, dashed)
