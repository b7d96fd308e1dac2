"""The Lua scripts: one file per verb in `lua/`, shared pieces in `lua/parts/`, composed when first used.

A script starts with its header, and a line `--@ part part ...` stands for the parts it names; in a part,
`--@algorithms` and `--@minute` stand for what the limits are made of (`limits/`). The hash of the composed text is its
version: workers of two versions can run side by side against one Redis.
"""

from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from importlib.resources import files

from .keys import lua_preamble
from .limits import lua_fragments

_LUA = files("echelon_workers.ledger") / "lua"


@dataclass(frozen=True, slots=True)
class Script:
    """One composed script and the SHA1 that EVALSHA knows it by."""

    verb: str
    text: str
    sha: str


@cache
def script(verb: str) -> Script:
    """Compose `lua/<verb>.lua` with the key names and the parts that it names."""
    lines = (_LUA / f"{verb}.lua").read_text(encoding="utf-8").splitlines()
    flags = [lines.pop(0)] if lines[0].startswith("#!") else []
    composed: list[str] = []
    for line in lines:
        composed += [_part(part) for part in line[3:].split()] if line.startswith("--@") else [line]
    text = "\n".join([*flags, lua_preamble(), *composed])
    return Script(verb=verb, text=text, sha=sha1(text.encode(), usedforsecurity=False).hexdigest())


def _part(name: str) -> str:
    text = (_LUA / "parts" / f"{name}.lua").read_text(encoding="utf-8")
    for line, fragment in lua_fragments().items():
        text = text.replace(line, fragment)
    return text
