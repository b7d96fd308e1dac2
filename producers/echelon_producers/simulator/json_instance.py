"""An instance of a JSON Schema: the smallest value that satisfies it, for structured answers and tool arguments.

Reads JSON Schema as OpenAI and Anthropic take it and Gemini's OpenAPI form (types in upper case, `nullable`). A
`pattern` is met from a list of candidates; one that none of them matches is the one thing that may be missed.
"""

import math
import re
from typing import Any

_FORMATS = {
    "date-time": "2026-01-01T00:00:00Z", "date": "2026-01-01", "time": "00:00:00Z", "duration": "PT1S",
    "email": "someone@example.com", "idn-email": "someone@example.com", "hostname": "example.com",
    "uri": "https://example.com/", "uri-reference": "/", "url": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000", "ipv4": "192.0.2.1", "ipv6": "2001:db8::1",
}  # fmt: skip
_ROOMY_DEPTH = 5
_DEEPEST = 40
_CANDIDATES = [*_FORMATS.values(), "AB-123", "ab_12", "1.0", "1.0.0", "+10000000000", "#000000", "a@b.c", "a b", "A b",
               *(unit * times for times in range(1, 41) for unit in ("a", "A", "0", "1")), ""]  # fmt: skip


def instance_of(schema: Any) -> Any:
    """A value that satisfies `schema`; of a recursive schema, a shallow one."""
    return _instance(schema, schema, "value", 0)


def _instance(schema: Any, root: Any, name: str, depth: int) -> Any:
    schema = _resolved(schema, root, depth)
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return None if depth > _DEEPEST else name
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    kind = _type_of(schema)
    if kind == "object":
        return _object(schema, root, depth)
    if kind == "array":
        return _array(schema, root, name, depth)
    if kind == "string":
        return _string(schema, name)
    if kind in ("integer", "number"):
        return _number(schema, kind)
    return False if kind == "boolean" else None


def _resolved(schema: Any, root: Any, depth: int) -> Any:
    """`schema` with its references, alternatives and conjunctions settled."""
    for _ in range(_DEEPEST):
        if not isinstance(schema, dict):
            return schema
        rest = {key: value for key, value in schema.items() if key not in ("$ref", "anyOf", "oneOf", "allOf")}
        if "$ref" in schema:
            schema = _merged(_target(schema["$ref"], root), rest)
        elif schema.get("anyOf") or schema.get("oneOf"):
            chosen = _alternative(schema.get("anyOf") or schema["oneOf"], root, depth)
            schema = _merged(chosen, {**rest, **({"allOf": schema["allOf"]} if schema.get("allOf") else {})})
        elif schema.get("allOf"):
            for part in schema["allOf"]:
                rest = _merged(part, rest)
            schema = rest
        else:
            return schema
    return {}


def _target(reference: Any, root: Any) -> Any:
    target = root
    for step in str(reference).lstrip("#").strip("/").split("/"):
        if step:
            target = target.get(step.replace("~1", "/").replace("~0", "~"), {}) if isinstance(target, dict) else {}
    return target


def _merged(first: Any, second: dict[str, Any]) -> Any:
    if not isinstance(first, dict):
        return second or first
    merged = {**first, **second}
    for key in ("properties", "$defs"):
        if key in first and key in second:
            merged[key] = {**first[key], **second[key]}
    if "required" in first and "required" in second:
        merged["required"] = [*first["required"], *second["required"]]
    if "allOf" in first and "allOf" in second:
        merged["allOf"] = [*first["allOf"], *second["allOf"]]
    return merged


def _alternative(choices: list[Any], root: Any, depth: int) -> Any:
    def is_simple(choice: Any) -> bool:
        resolved = _resolved(choice, root, depth) if "$ref" in choice else choice
        return not isinstance(resolved, dict) or _type_of(resolved) not in ("object", "array")

    told = [choice for choice in choices if isinstance(choice, dict) and choice.get("type") not in ("null", "NULL")]
    if depth > _ROOMY_DEPTH:
        # Deep inside a recursive schema: whatever ends the recursion soonest.
        return next((c for c in choices if isinstance(c, dict) and c not in told), None) or next(
            (c for c in told if is_simple(c)), told[0] if told else choices[0]
        )
    return told[0] if told else choices[0]


def _type_of(schema: dict[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if isinstance(kind, str):
        return kind.lower()
    if "properties" in schema or "required" in schema:
        return "object"
    if "items" in schema or "prefixItems" in schema:
        return "array"
    if "minimum" in schema or "maximum" in schema or "multipleOf" in schema:
        return "number"
    return "string"


def _object(schema: dict[str, Any], root: Any, depth: int) -> dict[str, Any]:
    properties = schema.get("properties") or {}
    required = schema.get("required") or []
    names = [*properties] if depth < _ROOMY_DEPTH else [name for name in properties if name in required]
    names += [name for name in required if name not in names]
    others = schema.get("additionalProperties", True)
    for number in range(int(schema.get("minProperties", 0)) - len(names)):
        names.append(f"key{number + 1}")
    return {name: _instance(properties.get(name, others), root, name, depth + 1) for name in names}


def _array(schema: dict[str, Any], root: Any, name: str, depth: int) -> list[Any]:
    first = schema.get("prefixItems") or []
    least = int(schema.get("minItems", 0))
    most = schema.get("maxItems")
    wanted = max(least, len(first), 1 if depth < _ROOMY_DEPTH else 0)
    wanted = wanted if most is None else max(least, min(wanted, int(most)))
    items = [_instance(part, root, name, depth + 1) for part in first[:wanted]]
    rest = schema.get("items", True)
    items += [_instance(rest, root, name, depth + 1) for _ in range(wanted - len(items))]
    return _made_unique(items, _resolved(rest, root, depth)) if schema.get("uniqueItems") else items


def _made_unique(items: list[Any], schema: Any) -> list[Any]:
    if isinstance(schema, dict) and schema.get("enum"):
        return list(schema["enum"][: len(items)])
    step = schema.get("multipleOf", 1) if isinstance(schema, dict) else 1
    top = schema.get("maxLength") if isinstance(schema, dict) else None
    made: list[Any] = []
    for number, item in enumerate(items):
        if isinstance(item, str):
            text = f"{item}{number}"
            made.append(text if top is None else text[-int(top) :])
        elif isinstance(item, bool):
            made.append(bool(number))
        else:
            made.append(item + number * step if isinstance(item, int | float) else item)
    return made


def _string(schema: dict[str, Any], name: str) -> str:
    least = int(schema.get("minLength", 0))
    most = schema.get("maxLength")
    pattern = schema.get("pattern")
    if pattern is not None:
        for candidate in _CANDIDATES:
            if least <= len(candidate) and (most is None or len(candidate) <= most) and re.search(pattern, candidate):
                return candidate
    text = _FORMATS.get(str(schema.get("format", "")), f"some {name}")
    text = text.ljust(least, ".")
    return text if most is None else text[: int(most)]


def _number(schema: dict[str, Any], kind: str) -> float:
    low, high = _bounds(schema, kind)
    step = schema.get("multipleOf", 1 if kind == "integer" else None)
    if low is None:
        value: float = 0 if high is None or high >= 0 else high
    else:
        value = low
    if step:
        value = math.ceil(value / step) * step if low is not None else math.floor(value / step) * step
    elif high is not None and low is not None and value > high:
        value = high
    return int(value) if kind == "integer" else value


def _bounds(schema: dict[str, Any], kind: str) -> tuple[float | None, float | None]:
    nudge = 1 if kind == "integer" else 1e-6
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    # Draft 4 and Gemini write exclusive bounds as a flag beside the bound.
    if isinstance(above, bool):
        above = low if above else None
    if isinstance(below, bool):
        below = high if below else None
    if above is not None:
        low = max(above + nudge, low if low is not None else above + nudge)
    if below is not None:
        high = min(below - nudge, high if high is not None else below - nudge)
    if kind == "integer":
        low = math.ceil(low) if low is not None else None
        high = math.floor(high) if high is not None else None
    return low, high
