"""Demo of a deployment with several hosts, on one host: a given dagster.yaml, and one worker per queue."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from zk_pipeline.runtime.processes import start_child, terminate


def install_instance_config(home: Path, dagster_yaml: Path | None) -> None:
    """Copy `dagster_yaml` into the home; None removes it, so that the default is created again."""
    mine = home / "dagster.yaml"
    if dagster_yaml is not None:
        shutil.copyfile(dagster_yaml, mine)
    else:
        mine.unlink(missing_ok=True)


@contextmanager
def workers(home: Path, environ: Mapping[str, str], queues: Sequence[str], logs: Path) -> Iterator[None]:
    """Run one worker per queue until the end of the context or of this process, with output in `logs`."""
    with ExitStack() as running:
        for queue in queues:
            command = [sys.executable, "-m", "zk_pipeline", "worker", "--queue", queue]
            child = start_child(command, cwd=home, environ=environ, output=logs / f"worker-{queue}.log")
            running.callback(terminate, child)
        yield
