"""Putting a configuration in force."""

from echelon_configs import Loaded
from echelon_workers.ledger import revisions
from echelon_workers.ledger.client import Ledger


def publish(loaded: Loaded, ledger: Ledger, *, only_if_none: bool = False) -> int:
    """Put a checked configuration in force; its revision number."""
    configuration = loaded.configuration
    return revisions.publish(ledger, configuration, only_if_none=only_if_none)
