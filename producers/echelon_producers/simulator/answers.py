"""What the simulated model says: text, JSON, tool calls and thoughts that depend on the request alone."""

import json
import re
import time
from hashlib import blake2b
from itertools import islice, repeat

from .exchange import Ask, Finish, Reply
from .json_instance import instance_of
from .markers import Marked, without_markers
from .script import AnswerShape

_CHARACTERS_A_TOKEN = 4
_TOKENS_A_MESSAGE = 4
_TOKENS_AN_IMAGE = 765
_ECHOED_WORDS = 8
_WORDS = (
    "amber basin cedar delta ember fjord grove haven inlet jetty knoll ledge marsh north ocean prism quarry ridge "
    "shore tidal upland valley willow yonder zephyr acorn birch coral drift eagle "
)
_FILLER = "".join(islice(repeat(_WORDS), 200))


def input_tokens(ask: Ask) -> int:
    """The tokens of a request: UTF-8 bytes / 4 rounded up, and a fixed price for each message and image."""
    size = len(ask.text) if ask.text.isascii() else len(ask.text.encode())
    tools = sum(len(tool.name) + len(json.dumps(tool.schema)) for tool in ask.tools)
    text = -(-(size + tools) // _CHARACTERS_A_TOKEN)
    return text + _TOKENS_A_MESSAGE * ask.messages + _TOKENS_AN_IMAGE * ask.images


def reserved_tokens(ask: Ask, spent: int, shape: AnswerShape) -> int:
    """What a provider sets aside before it answers: the `spent` input tokens and all it may answer."""
    return spent + (ask.max_tokens if ask.max_tokens is not None else round(shape.tokens.quantile(0.99)))


def prompt_digest(ask: Ask) -> bytes:
    """Eight bytes that stand for the request's text."""
    return blake2b(ask.text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def compose(ask: Ask, spent: int, shape: AnswerShape, marked: Marked, number: int) -> Reply:
    """The answer to `ask` of `spent` input tokens; `number` makes its id unique, all else comes from the request."""
    digest = prompt_digest(ask)
    reasoning = _reasoning_tokens(ask, shape, marked, digest)
    room = None if ask.max_tokens is None else max(0, ask.max_tokens - reasoning)
    tool = _tool_to_call(ask, marked)
    text, tokens, finish = _call(ask, tool) if tool else _text(ask, shape, marked, digest, room)
    return Reply(
        id=f"{digest.hex()}{number:08x}",
        created_s=int(time.time()),
        text="" if tool else text,
        thoughts=_filler(digest[::-1], reasoning) if reasoning else "",
        tool=tool,
        arguments=json.loads(text) if tool else None,
        finish=finish,
        input_tokens=spent,
        cached_tokens=int(spent * shape.cached_share),
        output_tokens=tokens + reasoning,
        reasoning_tokens=reasoning,
    )


def _call(ask: Ask, name: str) -> tuple[str, int, Finish]:
    schema = next(tool.schema for tool in ask.tools if tool.name == name)
    arguments = json.dumps(instance_of(schema))
    return arguments, _tokens_of(name) + _tokens_of(arguments), "tool_calls"


def _text(ask: Ask, shape: AnswerShape, marked: Marked, digest: bytes, room: int | None) -> tuple[str, int, Finish]:
    if ask.json or ask.schema is not None:
        value = {"digest": digest.hex(), "echo": _echo(ask)} if ask.schema is None else instance_of(ask.schema)
        text = json.dumps(value, ensure_ascii=False)
        tokens = _tokens_of(text)
    else:
        tokens = marked.tokens if marked.tokens is not None else round(shape.tokens.quantile(_share(digest)))
        text = f"Echo {digest.hex()}: {_echo(ask)}. "
        text += _filler(digest, max(0, tokens - len(text) // _CHARACTERS_A_TOKEN))
        text = text[: tokens * _CHARACTERS_A_TOKEN].rstrip() if tokens else ""
    if room is not None and tokens > room:
        return text[: room * _CHARACTERS_A_TOKEN], room, "length"
    return text, tokens, "stop"


def _tokens_of(text: str) -> int:
    return -(-len(text) // _CHARACTERS_A_TOKEN)


def _share(digest: bytes) -> float:
    """A number between 0 and 1 that depends on the digest alone."""
    return (int.from_bytes(digest, "big") + 0.5) / 2**64


def _echo(ask: Ask) -> str:
    words = without_markers((ask.last or ask.text)[:400]).split(maxsplit=_ECHOED_WORDS)
    return " ".join(words[:_ECHOED_WORDS])


def _filler(digest: bytes, tokens: int) -> str:
    # Start at a word of the list, so that answers differ and none begins mid-word.
    start = _FILLER.index(" ", digest[0]) + 1
    size = tokens * _CHARACTERS_A_TOKEN
    if start + size <= len(_FILLER):
        return _FILLER[start : start + size]
    return (_FILLER[start:] + _FILLER * (size // len(_FILLER) + 1))[:size]


def _reasoning_tokens(ask: Ask, shape: AnswerShape, marked: Marked, digest: bytes) -> int:
    if ask.thinking_budget is None:
        return 0
    wanted = marked.reasoning_tokens
    if wanted is None:
        wanted = round(shape.reasoning_tokens.quantile(_share(digest[::-1])))
    most = ask.thinking_budget if ask.max_tokens is None else min(ask.thinking_budget, ask.max_tokens)
    return min(wanted, most)


def _tool_to_call(ask: Ask, marked: Marked) -> str | None:
    """The tool that the request forces, or that its marker or last message names; None to answer in text."""
    if not ask.tools or ask.tool_choice == "none":
        return None
    names = [tool.name for tool in ask.tools]
    if ask.tool_named in names:
        return ask.tool_named
    if marked.tool is not None and ask.last:
        return marked.tool if marked.tool in names else names[0]
    named = next((name for name in names if re.search(rf"\b{re.escape(name)}\b", ask.last)), None)
    return named or (names[0] if ask.tool_choice == "required" else None)
