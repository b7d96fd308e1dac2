"""One process that calls through LiteLLM's Router, as a user of the library would: run by an interpreter that has it.

Arguments: the far side's base URL, a Redis URL, the limit a minute, callers. It calls until it is stopped. It imports
nothing of these benchmarks: the interpreter is another one.
"""

import asyncio
import logging
import sys

from litellm import Router  # type: ignore[import-not-found]
from litellm.exceptions import RateLimitError  # type: ignore[import-not-found]

MESSAGES = [{"role": "user", "content": "Summarise in one sentence what the harbour master wrote about the tide."}]


def router(url: str, redis_url: str, per_minute: int) -> Router:
    """One deployment with a limit that is enforced before each call, its counts shared through Redis."""
    deployment = {
        "model_name": "bench",
        "litellm_params": {"model": "openai/bench", "api_base": url, "api_key": "simulated", "rpm": per_minute},
        "model_info": {"id": "bench"},
    }
    return Router(
        model_list=[deployment],
        redis_url=redis_url,
        routing_strategy="simple-shuffle",
        num_retries=0,
        disable_cooldowns=True,
        optional_pre_call_checks=["enforce_model_rate_limits"],
    )


async def caller(through: Router) -> None:
    """Call, and when refused ask again after a second, as a queue with work waiting would."""
    while True:
        try:
            await through.acompletion(model="bench", messages=MESSAGES, max_tokens=64)
        except RateLimitError:
            await asyncio.sleep(1.0)


async def main(url: str, redis_url: str, per_minute: int, callers: int) -> None:
    """All callers of this process."""
    through = router(url, redis_url, per_minute)
    await asyncio.gather(*(caller(through) for _ in range(callers)))


if __name__ == "__main__":
    logging.disable(logging.ERROR)
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
