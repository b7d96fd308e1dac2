"""What a job states beside its request."""

import pytest

from echelon_workers.ledger.options import Options


@pytest.mark.parametrize("stated", [None, (), ("plan_group", "pool.mixed")])
def test_options_are_read_as_they_were_written(stated: tuple[str, ...] | None) -> None:
    options = Options(fallback_groups=stated)
    assert Options.from_json(options.to_json()) == options


def test_a_job_that_states_nothing_keeps_nothing() -> None:
    assert Options().to_json() == ""
    assert Options.from_json("{}") == Options()
