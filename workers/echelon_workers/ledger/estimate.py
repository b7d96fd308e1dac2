"""How many tokens a request takes as input, told without any model's tokenizer: what is usual, and what is possible.

The usual is (3 x bytes - characters) / 8 of the text in UTF-8: a token for four ASCII characters, 0.6 for one of two
bytes, one for one of three. Measured with the tokenizers of GPT-4 (cl100k_base), GPT-4o (o200k_base), DeepSeek V3 and
Claude 2: 0.87 to 1.09 times the real count for English, code, JSON and Markdown, 0.79 to 1.01 for other languages in
Latin script, 0.75 to 1.6 for Chinese, Japanese and Korean, 1.0 to 1.8 for Russian. Frames around messages are OpenAI's
(https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken).

The possible is a token for each byte: byte-level BPE makes none of less than one, nor does SentencePiece where it falls
back to bytes. A tokenizer that first brings text to Unicode's form NFKC (Claude 2's does) counts the bytes of that.
"""

import json
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from .job import JobRequest


class Size(NamedTuple):
    """Tokens of input: as many as usual, and never fewer than any tokenizer can make of it."""

    input_tokens: int
    worst_input_tokens: int

    def and_also(self, more: "Size") -> "Size":
        """Both together."""
        return Size(self.input_tokens + more.input_tokens, self.worst_input_tokens + more.worst_input_tokens)


NOTHING = Size(0, 0)

#: Around the whole: OpenAI primes an answer with three tokens; some chat templates bring a system prompt of their own.
REQUEST = Size(3, 128)
#: Around each message: its role and what parts it from the next.
MESSAGE = Size(4, 16)
#: An image, whatever its size, which is not known here. Usual: 765 at OpenAI for 1024 x 1024, up to 1,600 at
#: Anthropic, 258 to 1,120 at Gemini. At most: 48,169 of gpt-4o-mini (2,833 and 8 tiles of 5,667).
IMAGE = Size(1_000, 50_000)
#: Beside the definitions of tools, or a schema for the answer: Anthropic's own prompt for tools has up to 530 tokens.
INSTRUCTIONS = Size(100, 1_000)
#: JSON that a provider writes out for the model may be indented there.
_INDENTED = 2
_A_PART = 65_536

_AROUND = (REQUEST[0] + MESSAGE[0], REQUEST[1] + MESSAGE[1])


def sizes(request: JobRequest) -> Size:
    """The input of a request; what its node or echelon adds to it is not in it."""
    prompt = request.prompt
    if prompt is not None and prompt.isascii() and len(request.model_fields_set) == 1:
        # Most jobs of a bulk are this; it is the sum of what the parts below are.
        characters = len(prompt)
        return Size((characters + 3) // 4 + _AROUND[0], characters + _AROUND[1])
    return _added(_parts(request))


def system_size(prompt: str) -> Size:
    """The input that a system prompt adds."""
    return MESSAGE.and_also(text_size(prompt))


def format_size(response_format: object) -> Size:
    """The input that the form of the answer adds: a schema, or the word that it is to be JSON."""
    if response_format is None or response_format == "text":
        return NOTHING
    return INSTRUCTIONS.and_also(_json_size(response_format))


def text_size(text: str) -> Size:
    """The tokens of a text alone."""
    characters = len(text)
    if text.isascii():
        return Size((characters + 3) // 4, characters)
    return Size((3 * _bytes(text) - characters + 7) // 8, _possible(text))


def _parts(request: JobRequest) -> Iterable[Size]:
    yield REQUEST
    if request.prompt is not None:
        yield MESSAGE
        yield text_size(request.prompt)
    if request.system is not None:
        yield system_size(request.system)
    for message in request.messages or ():
        yield MESSAGE
        yield from _message(message)
    if request.tools:
        yield INSTRUCTIONS
        yield _json_size(request.tools)
    yield format_size(request.response_format)


def _message(message: Mapping[str, Any]) -> Iterable[Size]:
    content = message.get("content")
    if isinstance(content, str):
        yield text_size(content)
    for part in content if isinstance(content, list) else ():
        yield text_size(part["text"]) if part["type"] == "text" else IMAGE
    for call in message.get("tool_calls") or ():
        yield MESSAGE
        yield text_size(call["function"]["name"] + call["function"]["arguments"])
    for name in ("name", "tool_call_id"):
        if message.get(name):
            yield text_size(message[name])


def _json_size(value: object) -> Size:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    typical, worst = text_size(text)
    return Size(typical, _INDENTED * worst)


def _added(parts: Iterable[Size]) -> Size:
    usual, possible = zip(*parts, strict=True)
    return Size(sum(usual), sum(possible))


def _possible(text: str) -> int:
    """The bytes of a text in UTF-8, as it is or in NFKC, whichever has more; a part at a time, because one character
    can become 18."""
    size = 0
    for start in range(0, len(text), _A_PART):
        part = text[start : start + _A_PART]
        size += max(_bytes(part), _bytes(unicodedata.normalize("NFKC", part)))
    return size


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
