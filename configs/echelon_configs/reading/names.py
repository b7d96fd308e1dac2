"""What groups, echelons, pools, nodes and instances may be called: their names become queue names."""

import re

from echelon_configs.problems import Place, Problems
from echelon_configs.text.leaks import is_literal_secret

RESERVED_GROUPS = frozenset({"pool", "node", "model"})  # `pool.NAME` is a pool, so no group can be called pool

_NAME = re.compile(r"\w[\w-]{0,99}")
_INSTANCE_NAME = re.compile(r"\w[\w./:@+-]{0,149}")


def check_name(name: str, noun: str, place: Place, problems: Problems) -> bool:
    """Whether a group, echelon, pool or node may be called this; if not, a problem says why."""
    if not _NAME.fullmatch(name):
        problems.error(
            place,
            f"{_quoted(name)} cannot be the name of {noun}",
            "use letters, digits, `_` and `-`; a dot divides names",
        )
        return False
    if noun == "a group" and name in RESERVED_GROUPS:
        problems.error(place, f"{name!r} is taken: `{name}.NAME` means a {name}", f"call it {name}_group")
        return False
    return True


def check_instance_name(name: str, place: Place, problems: Problems) -> bool:
    """Whether an instance may be called this; if not, a problem says why."""
    if is_instance_name(name):
        return True
    problems.error(
        place, f"{_quoted(name)} cannot be the name of an instance", "use letters, digits and any of `_ - . / : @ +`"
    )
    return False


def is_instance_name(name: str) -> bool:
    """Whether an instance may be called this."""
    return bool(_INSTANCE_NAME.fullmatch(name)) and not is_literal_secret(name)


def _quoted(name: str) -> str:
    return "<hidden>" if is_literal_secret(name) else repr(name[:60])
