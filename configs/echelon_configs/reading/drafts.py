"""What has been read so far: raw objects with the places they were written at, before anything is checked across."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from echelon_configs.conventions import Vendor
from echelon_configs.limits import Limits, RateLimit, RateLimiting
from echelon_configs.problems import Problems
from echelon_configs.raw.cluster import RawDefaults
from echelon_configs.raw.fallbacks import RawGlobalFallback
from echelon_configs.raw.groups import RawEchelon, RawGroup
from echelon_configs.raw.limits import RawConcurrencyControl
from echelon_configs.raw.models import RawModel
from echelon_configs.raw.nodes import RawNode
from echelon_configs.raw.pools import RawPool
from echelon_configs.references import SecretReference, SecretTemplate
from echelon_configs.registry import Registry
from echelon_configs.text.files import ConfigFiles
from echelon_configs.text.marked import Marked


@dataclass(frozen=True, slots=True)
class Reading:
    """What every reader needs."""

    files: ConfigFiles
    problems: Problems
    registry: Registry
    environment: Mapping[str, str]


@dataclass(slots=True)
class DraftEchelon:
    name: str
    node: Marked
    raw: RawEchelon | None
    rate: RateLimit | None = None


@dataclass(slots=True)
class DraftGroup:
    name: str
    node: Marked
    raw: RawGroup | None
    echelons: dict[str, DraftEchelon]
    rate: RateLimit | None = None


@dataclass(slots=True)
class DraftPool:
    name: str
    node: Marked
    raw: RawPool | None
    limits: Limits = field(default_factory=Limits)


@dataclass(slots=True)
class DraftNode:
    name: str
    node: Marked
    raw: RawNode | None
    rate: RateLimit | None = None


@dataclass(slots=True)
class DraftModel:
    name: str
    node: Marked
    raw: RawModel | None
    vendor: Vendor | None = None
    model_type: str = ""
    model_name: str = ""
    base_url: str | None = None
    api_key: SecretReference | None = None
    headers: dict[str, str | SecretTemplate] = field(default_factory=dict)
    unset: list[str] = field(default_factory=list)
    rate: RateLimit | None = None


@dataclass(slots=True)
class Draft:
    """The whole configuration, unchecked. `disabled` holds names switched off by `enabled: false`."""

    groups: dict[str, DraftGroup] = field(default_factory=dict)
    pools: dict[str, DraftPool] = field(default_factory=dict)
    nodes: dict[str, DraftNode] = field(default_factory=dict)
    models: dict[str, DraftModel] = field(default_factory=dict)
    disabled_groups: set[str] = field(default_factory=set)
    disabled_pools: set[str] = field(default_factory=set)
    disabled_models: set[str] = field(default_factory=set)
    global_fallback: RawGlobalFallback = field(default_factory=RawGlobalFallback)
    concurrency: RawConcurrencyControl = field(default_factory=RawConcurrencyControl)
    rate_limiting: RateLimiting = field(default_factory=RateLimiting)
    limits: Limits = field(default_factory=Limits)
    defaults: RawDefaults = field(default_factory=RawDefaults)


def secrets_of(model: DraftModel) -> list[SecretReference]:
    """Every secret that a call to this instance needs."""
    templates = [value for value in model.headers.values() if isinstance(value, SecretTemplate)]
    inside = [reference for template in templates for reference in template.references]
    return [*([model.api_key] if model.api_key else []), *inside]
