"""Making one call to a provider: whatever comes of it is an answer or a failure."""

import asyncio
from typing import Any

from celery.utils.log import get_logger

from .errors import AttemptFailed, TimedOut, UnknownFailure
from .providers import Call, GrantLapsed
from .providers.call import ProviderAnswer

logger = get_logger(__name__)

#: Providers end a call at its timeout by themselves; one that does not is ended so much later.
SPARE_S = 1.0


async def made(providers: Any, call: Call) -> ProviderAnswer | AttemptFailed:
    """Make the call, under its timeout. Raises GrantLapsed if it was too late for it to be sent."""
    try:
        # Providers of our own ask at the last moment before the bytes go; others are asked for before they begin.
        if not getattr(providers, "announces_sending", False):
            call.sending()
        async with asyncio.timeout(call.timeout_s + SPARE_S):
            answered: ProviderAnswer = await providers.complete(call)
            return answered
    except GrantLapsed:
        raise
    except AttemptFailed as failure:
        return failure
    except TimeoutError:
        return TimedOut(f"no answer within {call.timeout_s:g} s")
    except Exception as exc:
        logger.exception("the provider of %s raised what it should not", call.instance.name)
        return UnknownFailure(f"{type(exc).__name__} in the provider of {call.instance.name}")
