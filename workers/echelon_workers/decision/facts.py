"""The facts of a job, from what its record holds."""

from echelon_configs import Configuration, UnknownTarget
from echelon_workers.ledger.job import JobRequest
from echelon_workers.ledger.options import Options

from .decision import Job


def job_of(
    configuration: Configuration, *, queue: str, target: str, node: str, request: JobRequest, options: str = ""
) -> Job:
    """A job that is in `queue`, was sent to `target` under `node` (empty: none), with the `options` of its record.

    Its home is what the target means now. A target or a node that has gone meanwhile means the queue where it is.
    """
    try:
        resolved = configuration.resolve(target, node or None)
        home, under = resolved.queue, resolved.node
    except UnknownTarget:
        home, under = queue, configuration.nodes.get(node)
    stated = Options.from_json(options)
    return Job(queue=queue, home=home, node=under, request=request, fallback_groups=stated.fallback_groups)
