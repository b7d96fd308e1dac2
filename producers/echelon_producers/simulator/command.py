"""`echelon simulator`: the command line of the simulator."""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import click

from .script import Behaviour, Distribution, Script, ScriptError, parse_script


@click.command("simulator", short_help="Fake OpenAI, Anthropic and Gemini endpoints that count what arrives.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=0, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes a free one.")
@click.option("--script", "script_file", type=click.Path(path_type=Path), help="JSON file with behaviours and faults.")
@click.option("--latency", help="Seconds every answer takes: 0.2, 0.1-0.5 (evenly), or p50=0.8,p99=6 (lognormal).")
@click.option("--seed", type=int, help="Seed of every random draw; overrides the script's.")
@click.option("--max-arrivals", default=5_000_000, show_default=True, type=click.IntRange(1),
              help="Arrivals to keep, about 100 bytes each; older ones are dropped.")  # fmt: skip
def simulator_command(
    host: str, port: int, script_file: Path | None, latency: str | None, seed: int | None, max_arrivals: int
) -> None:
    """Serve fake OpenAI, Anthropic and Gemini endpoints with scripted latency, limits and faults.

    The first line on standard output is `simulator: URL`. Clients use URL/openai/v1, URL/anthropic or URL/gemini as
    their base URL; URL/_sim/counts says what arrived. SIGTERM or SIGINT stops it.
    """
    try:
        script = with_options(_read_script(script_file), latency, seed)
    except ScriptError as invalid:
        for problem in invalid.problems:
            click.echo(f"simulator: {problem}", err=True)
        sys.exit(2)
    try:
        from .server import run
        from .simulation import Simulation
    except ImportError as missing:
        click.echo(f"simulator: {missing.name} is missing: pip install 'echelon-cluster[simulator]'", err=True)
        sys.exit(2)

    def announce(url: str) -> None:
        click.echo(f"simulator: {url}")
        sys.stdout.flush()

    try:
        _runner()(run(Simulation(script, max_arrivals), host, port, announce))
    except OSError as error:
        click.echo(f"simulator: cannot listen on {host}:{port}: {error.strerror or error}", err=True)
        sys.exit(1)


def with_options(script: Script, latency: str | None, seed: int | None) -> Script:
    """`script` with the command line's latency (for every model that has none of its own) and seed."""
    if seed is not None:
        script = script.model_copy(update={"seed": seed})
    if latency is not None:
        common = script.models.get("*", Behaviour()).model_copy(update={"latency_s": read_latency(latency)})
        script = script.model_copy(update={"models": {**script.models, "*": common}})
    return parse_script(script.to_json())


def read_latency(text: str) -> Distribution:
    """The distribution that `0.2`, `0.1-0.5` or `p50=0.8,p99=6` stands for; raises `ScriptError`."""
    try:
        if text.startswith("p"):
            return Distribution.model_validate(dict(part.split("=") for part in text.split(",")))
        low, dash, high = text.partition("-")
        return Distribution.model_validate({"low": low, "high": high} if dash else float(text))
    except (ValueError, TypeError):
        raise ScriptError([f"--latency: {text!r} is none of 0.2, 0.1-0.5 and p50=0.8,p99=6"]) from None


def _read_script(file: Path | None) -> Script:
    if file is None:
        return Script()
    try:
        return parse_script(json.loads(file.read_text("utf-8")))
    except ScriptError as invalid:
        raise ScriptError([f"{file}: {problem}" for problem in invalid.problems]) from None
    except OSError as error:
        raise ScriptError([f"{file}: {error.strerror or error}"]) from None
    except (ValueError, RecursionError) as error:
        raise ScriptError([f"{file}: not JSON: {error}"]) from None


def _runner() -> Callable[[Coroutine[Any, Any, None]], None]:
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    return uvloop.run
