"""Finds a strategy by its name."""

from functools import cache
from importlib import import_module

from .strategy import Strategy


class StrategyUnusable(Exception):
    """A strategy that cannot be imported or is none; the message says which and why."""


@cache
def strategy_named(name: str) -> Strategy:
    """The strategy of this name; `package.module:Class` is a user's own.

    One of ours stands in the module of its name: `echelon_down` is `EchelonDown` in `echelon_down.py` beside this file.
    Raises StrategyUnusable.
    """
    module, _, attribute = (name if ":" in name else f"{__package__}.{name}:{_class_of(name)}").partition(":")
    try:
        found = getattr(import_module(module), attribute)()
    except Exception as exc:  # whatever it is: the code is a user's own
        raise StrategyUnusable(f"the strategy {name} cannot be used ({type(exc).__name__}: {exc})") from exc
    if not isinstance(found, Strategy):
        raise StrategyUnusable(f"{name} is no strategy (would be right: a subclass of {__package__}.Strategy)")
    return found


def _class_of(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))
