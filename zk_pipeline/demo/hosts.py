"""The demo on many hosts, all of them this one: Dagster's instance as somebody configured it, a worker per queue."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from zk_pipeline.runtime.processes import start_child, terminate


def install_instance_config(home: Path, dagster_yaml: Path | None) -> None:
    """Give the home this `dagster.yaml`; where None, the usual one when it is next filled."""
    mine = home / "dagster.yaml"
    if dagster_yaml is not None:
        shutil.copyfile(dagster_yaml, mine)
    else:
        mine.unlink(missing_ok=True)


@contextmanager
def workers(home: Path, environ: Mapping[str, str], queues: Sequence[str], logs: Path) -> Iterator[None]:
    """A worker for each queue, which ends with this process; what they say is in `logs`."""
    with ExitStack() as running:
        for queue in queues:
            command = [sys.executable, "-m", "zk_pipeline", "worker", "--queue", queue]
            child = start_child(command, cwd=home, environ=environ, output=logs / f"worker-{queue}.log")
            running.callback(terminate, child)
        yield
