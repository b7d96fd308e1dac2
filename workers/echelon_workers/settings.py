"""How one worker process runs: from the environment, because Celery's command line starts it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .ledger.address import Address
from .ledger.verbs import INBOX, Terms

DEFAULT_URL = "redis://127.0.0.1:6379/0"


class SettingInvalid(ValueError):
    """An environment variable has a value that cannot be used; the message says which and what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """ECHELON_CONFIGS, ECHELON_SIMULATOR_URL, ECHELON_PROVIDERS, ECHELON_LEASE_S, ECHELON_GRACE_S, ECHELON_SLOTS,
    ECHELON_INBOX; docs/workers.md says what each is for."""

    address: Address
    configs: Path
    simulator_url: str | None
    providers: str
    lease_s: float
    grace_s: float
    slots: int
    inbox: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "WorkerSettings":
        """Read them. Raises SettingInvalid or AddressInvalid."""
        namespace = environment.get("ECHELON_NAMESPACE", "")
        return cls(
            address=Address.from_environment(environment) or Address(DEFAULT_URL, namespace),
            configs=Path(environment.get("ECHELON_CONFIGS") or "configs"),
            simulator_url=_web_url(environment, "ECHELON_SIMULATOR_URL"),
            providers=environment.get("ECHELON_PROVIDERS") or "echelon_workers.providers:Providers",
            lease_s=_number(environment, "ECHELON_LEASE_S", 10.0, at_least=1, at_most=3600),
            grace_s=_number(environment, "ECHELON_GRACE_S", 30.0, at_least=0, at_most=86_400),
            slots=int(_number(environment, "ECHELON_SLOTS", 100, at_least=1, at_most=10_000)),
            inbox=environment.get("ECHELON_INBOX") or INBOX,
        )

    def terms(self, retention_s: float) -> Terms:
        """The terms on which this worker holds jobs."""
        return Terms(lease_ms=int(self.lease_s * 1000), retention_ms=int(retention_s * 1000), inbox=self.inbox)


def _number(environment: Mapping[str, str], name: str, default: float, *, at_least: float, at_most: float) -> float:
    text = environment.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not at_least <= value <= at_most:
        raise SettingInvalid(f"{name}={text!r}: not a number from {at_least:g} to {at_most:g} (default: {default:g})")
    return value


def _web_url(environment: Mapping[str, str], name: str) -> str | None:
    url = environment.get(name) or None
    if url is not None and not url.startswith(("http://", "https://")):
        raise SettingInvalid(f"{name}={url!r}: not a web address (would be right: http://127.0.0.1:9000)")
    return url
