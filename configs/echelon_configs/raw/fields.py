"""The kinds of values that YAML keys take."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from echelon_configs.conventions import VENDORS
from echelon_configs.problems import any_of, nearest
from echelon_configs.registry import DOTTED_PATH, OPEN_KINDS, Kind, Registry

MOST = 1_000_000_000
LONGEST_S = 31 * 86_400


class Raw(BaseModel):
    """A mapping whose keys are all known."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def wrong(message: str, advice: str) -> PydanticCustomError:
    """An error of our own, with what would be right."""
    return PydanticCustomError("wrong", "{message}", {"message": message, "advice": advice})


def _no_limit(value: Any) -> Any:
    return 0 if value is None or (isinstance(value, str) and value.strip().lower() == "none") else value


def _name_of(kind: Kind) -> AfterValidator:
    def check(written: str, info: ValidationInfo) -> str:
        registry = info.context if isinstance(info.context, Registry) else Registry()
        found = registry.find(kind, written)
        known = registry.names(kind)
        if found is None and kind == "providers":
            vendors = tuple(vendor.name for vendor in VENDORS)
            found = written if written in vendors else None
            known = tuple(dict.fromkeys((*known, *vendors)))
        if found is None:
            near = nearest(written, known, 1)
            start = f"did you mean {near[0]}? " if near else ""
            shown = written if len(written) <= 60 else f"{written[:57]}..."
            own = ", or package.module:Class" if kind in OPEN_KINDS else ""
            raise wrong(f"there is no {_NOUNS[kind]} {shown!r}", f"{start}known: {any_of(known)}{own}")
        return found

    return AfterValidator(check)


_NOUNS: dict[Kind, str] = {
    "strategies": "strategy",
    "pool_strategies": "pool strategy",
    "schedulers": "rotation",
    "algorithms": "algorithm",
    "providers": "provider",
}


def _name_schema(kind: Kind) -> WithJsonSchema:
    named: dict[str, Any] = {"type": "string", "enum": [], "x-names": kind}
    if kind not in OPEN_KINDS:
        return WithJsonSchema(named)
    return WithJsonSchema({"anyOf": [named, {"type": "string", "pattern": f"^{DOTTED_PATH.pattern}$"}]})


def _format(value: Any) -> Any:
    if value in ("text", "json_object", "json"):
        return "json_object" if value == "json" else value
    if value is None:
        return None
    if isinstance(value, str):
        raise wrong(f"there is no response format {value[:60]!r}", "text, json_object, or a JSON schema as a mapping")
    if not isinstance(value, dict):
        raise wrong("a response format is text or a mapping", "text, json_object, or a JSON schema as a mapping")
    return _format_object(value)


def _format_object(value: dict[str, Any]) -> Any:
    kind = value.get("type")
    if kind in ("text", "json_object"):
        return kind
    if kind == "json_schema":
        inner = value.get("json_schema")
        if not isinstance(inner, dict) or not isinstance(inner.get("schema"), dict):
            raise wrong(
                "a json_schema needs its schema", "{type: json_schema, json_schema: {name: NAME, schema: {...}}}"
            )
        return value
    if not set(value) & {"type", "properties", "anyOf", "oneOf", "allOf", "$ref", "$defs", "enum", "const", "items"}:
        raise wrong("this mapping is not a JSON schema", "{type: object, properties: {...}}")
    return value


# A limit of 0, or none, is no limit; what is not written takes the default of its level.
Limit = Annotated[
    Annotated[int, Field(ge=0, le=MOST)] | None,
    BeforeValidator(_no_limit),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 0, "maximum": MOST}, {"type": "null"}, {"const": "none"}]}
    ),
]
Count = Annotated[int, Field(ge=1, le=MOST)]
Seconds = Annotated[float, Field(gt=0, le=LONGEST_S, allow_inf_nan=False)]
Delay = Annotated[float, Field(ge=0, le=LONGEST_S, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, le=MOST, allow_inf_nan=False)]
Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
Text = Annotated[str, Field(max_length=200_000)]
Name = Annotated[str, Field(min_length=1, max_length=200)]

FunctionCalling = Literal["none", "auto", "required"]
ResponseFormat = Annotated[
    Any,
    AfterValidator(_format),
    WithJsonSchema({"anyOf": [{"type": "string", "enum": ["text", "json_object", "json"]}, {"type": "object"}]}),
]

StrategyName = Annotated[str, _name_of("strategies"), _name_schema("strategies")]
PoolStrategyName = Annotated[str, _name_of("pool_strategies"), _name_schema("pool_strategies")]
SchedulerName = Annotated[str, _name_of("schedulers"), _name_schema("schedulers")]
AlgorithmName = Annotated[str, _name_of("algorithms"), _name_schema("algorithms")]
ProviderName = Annotated[str, _name_of("providers"), _name_schema("providers")]
