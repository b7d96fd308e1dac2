"""What the providers' models take: facts about each family of models, by the beginning of its name.

A model that is not listed is taken for one without the feature, except Gemini's, where newer models have what 3 has.
A test holds these tables equal to what pydantic-ai's profiles say of every model that either of them names.
"""

from __future__ import annotations

from dataclasses import dataclass

# OpenAI: the least effort a reasoning model takes; "" for one that takes none for "do not think". The first that fits
# the name decides.
_LEAST_EFFORTS = {
    "gpt-6-astra": "low",
    "gpt-6.1-sol": "low",
    "gpt-6.1-terra": "none",
    "gpt-6-sol": "none",
    "gpt-6-luna": "none",
    "gpt-5.6": "none",
    "gpt-5.5-pro": "medium",
    "gpt-5.5": "none",
    "gpt-5.4-pro": "medium",
    "gpt-5.4": "none",
    "gpt-5.3-chat": "medium",
    "gpt-5.3": "none",
    "gpt-5.2-pro": "medium",
    "gpt-5.2-chat": "medium",
    "gpt-5.2": "none",
    "gpt-5.1-codex": "",
    "gpt-5.1-chat": "medium",
    "gpt-5.1": "none",
    "gpt-5-chat": None,
    "gpt-5-pro": "high",
    "gpt-5-codex": "",
    "gpt-5": "minimal",
    "o1": "low",
    "o3": "low",
    "o4": "low",
}

_CLAUDE_5 = ("claude-fable-5", "claude-mythos-5", "claude-opus-5", "claude-sonnet-5", "claude-haiku-5-5")
_CLAUDE_ADAPTIVE = (*_CLAUDE_5, "claude-opus-4-7", "claude-opus-4-8")
_CLAUDE_SCHEMAS = (*_CLAUDE_ADAPTIVE, "claude-haiku-4-5", "claude-sonnet-4-5", "claude-sonnet-4-6",
                   "claude-opus-4-1", "claude-opus-4-5", "claude-opus-4-6")  # fmt: skip
_CLAUDE_ALWAYS = ("claude-fable-5", "claude-mythos-5", "claude-opus-5-5")
_CLAUDE_UNFORCED = ("claude-fable-5-1", "claude-fable-5-2", "claude-mythos-5-1", "claude-mythos-5-2",
                    "claude-opus-5-5", "claude-sonnet-5-5")  # fmt: skip
_CLAUDE_LARGE = (*_CLAUDE_ADAPTIVE, "claude-opus-4-6", "claude-sonnet-4-6")
_CLAUDE_MIDDLE = ("claude-haiku-4-5", "claude-opus-4-5", "claude-sonnet-4-5")

_GEMINI_LEVELS = {
    "gemini-3.1-flash-lite-image": ("MINIMAL", "HIGH"),
    "gemini-3.7-flash": ("LOW", "MEDIUM", "HIGH"),
    "gemini-3.8-flash": ("LOW", "MEDIUM", "HIGH"),
    "gemini-3.1-pro-preview": ("LOW", "MEDIUM", "HIGH"),
    "gemini-3-pro-preview": ("LOW", "HIGH"),
    "gemini-4-argon": ("LOW", "MEDIUM", "HIGH"),
    "gemini-4-carbon": ("LOW", "MEDIUM", "HIGH"),
}
LEVELS = ("MINIMAL", "LOW", "MEDIUM", "HIGH")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIModel:
    """`reasons`: takes an effort. `least_effort`: what to send where no thinking is wanted; None: nothing."""

    reasons: bool
    least_effort: str | None
    takes_system: bool

    @property
    def can_rest(self) -> bool:
        """Whether the model can answer without reasoning."""
        return self.least_effort == "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaudeModel:
    """`adaptive_only`: takes no thinking budget, no temperature, top_p or top_k.

    `off`: the thinking to send where none is wanted; None: nothing. `always_thinks`: that is not off, but the least.
    """

    schemas: bool
    adaptive_only: bool
    always_thinks: bool
    off: str | None
    takes_forced_tools: bool
    most_tokens: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GeminiModel:
    """`thinks`: with a budget, or with one of `levels` where there are some. `modern`: from Gemini 3 on."""

    thinks: bool
    always_thinks: bool
    levels: tuple[str, ...]
    modern: bool
    makes_images: bool

    def level(self, wanted: str) -> str:
        """The nearest level that the model takes, the cheaper one of two."""
        at = LEVELS.index(wanted)
        return min(self.levels, key=lambda level: (abs(LEVELS.index(level) - at), LEVELS.index(level)))


def openai_model(name: str) -> OpenAIModel:
    """What one of OpenAI's models takes."""
    least = next((least for family, least in _LEAST_EFFORTS.items() if name.startswith(family)), None)
    return OpenAIModel(
        reasons=least is not None, least_effort=least or None, takes_system=not name.startswith("o1-mini")
    )


def claude_model(name: str) -> ClaudeModel:
    """What one of Anthropic's models takes."""
    always = name.startswith(_CLAUDE_ALWAYS)
    off = "disabled" if name.startswith(_CLAUDE_5) and not always else None
    large, middle = name.startswith(_CLAUDE_LARGE), name.startswith(_CLAUDE_MIDDLE)
    return ClaudeModel(
        schemas=name.startswith(_CLAUDE_SCHEMAS),
        adaptive_only=name.startswith(_CLAUDE_ADAPTIVE),
        always_thinks=always,
        off="between_tools" if name.startswith("claude-sonnet-5-5") else off,
        takes_forced_tools=not name.startswith(_CLAUDE_UNFORCED),
        most_tokens=128_000 if large else 64_000 if middle else None,
    )


def gemini_model(name: str) -> GeminiModel:
    """What one of Google's models takes."""
    gemini_2_5 = "gemini-2.5" in name
    before = "gemini-1" in name or ("gemini-2." in name and not gemini_2_5) or name == "gemini-pro"
    modern = not (before or gemini_2_5 or "gemma" in name)
    thinks = (modern or gemini_2_5) and "gemini-2.5-flash-image" not in name
    levels = next((levels for family, levels in _GEMINI_LEVELS.items() if name.startswith(family)), LEVELS)
    return GeminiModel(
        thinks=thinks,
        always_thinks=thinks and "pro" in name and "flash" not in name,
        levels=levels if modern else (),
        modern=modern,
        makes_images="image" in name,
    )
