"""Bulk submit from one process: `Client.submit_many` beside Celery's `apply_async`."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from .echelon_side import EchelonSide
from .results import median, progress
from .stock_side import StockSide


@dataclass(frozen=True, slots=True)
class Submitting:
    """Jobs a second that one process puts into the queue, the medians of the rounds."""

    ours: float
    stock_batch: float
    stock_singly: float


def submitting(ours: EchelonSide, stock: StockSide, *, jobs: int, stock_jobs: int, rounds: int) -> Submitting:
    """Submit to queues that nobody serves. Stock gets fewer jobs, because it takes longer; its rate does not change."""
    found: dict[str, list[float]] = {"Echelon": [], "stock Celery in a batch": [], "stock Celery singly": []}
    for number in range(rounds):
        ours.reset()
        rates = {"Echelon": _rate(ours.submit, jobs)}
        if ours.left() != jobs:
            raise RuntimeError(f"{ours.left()} of {jobs} submitted jobs are in the queue")
        ours.reset()
        rates["stock Celery in a batch"] = _rate(stock.submit, stock_jobs)
        rates["stock Celery singly"] = _rate(lambda many: [stock.submit_one() for _ in range(many)], stock_jobs // 4)
        stock.reset()
        for name, rate in rates.items():
            found[name].append(rate)
            progress(f"  round {number + 1}: {name}: {rate:.0f} jobs/s")
    return Submitting(*(median(rates) for rates in found.values()))


def _rate(submit: Callable[[int], object], jobs: int) -> float:
    began = time.perf_counter()
    submit(jobs)
    return jobs / (time.perf_counter() - began)
