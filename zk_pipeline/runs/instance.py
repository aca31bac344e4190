"""Dagster's instance of DAGSTER_HOME."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import dagster as dg

from zk_pipeline.defs.dagster_internals import keep_storage_engines
from zk_pipeline.errors import ZkPipelineError

_MAX_REASON = 500  # characters


@contextmanager
def open_instance() -> Iterator[dg.DagsterInstance]:
    """Dagster's instance of DAGSTER_HOME, which must be exported (`home.export_home`).

    Raises ZkPipelineError in one line if it cannot be opened: a class in `dagster.yaml` that does not exist, a wrong
    field of its configuration, or a storage that cannot be reached.
    """
    keep_storage_engines()
    with ExitStack() as stack:
        try:
            instance = stack.enter_context(dg.DagsterInstance.get())
            _ = instance.run_coordinator, instance.run_launcher  # loaded at their first use
        except Exception as error:  # of Dagster, of a class that dagster.yaml names, or of a database driver
            errors = error.errors if isinstance(error, dg.DagsterInvalidConfigError) else []
            text = "; ".join(one.message for one in errors) or str(error)
            reason = " ".join(text.split())[:_MAX_REASON].rstrip(".")
            raise ZkPipelineError(
                f"Dagster's instance cannot be opened: {reason}. "
                "Compare dagster.yaml in DAGSTER_HOME with the shipped one"
            ) from error
        yield instance


def upgrade_instance(instance: dg.DagsterInstance) -> None:
    """Migrate the storages of an instance of an older Dagster, as `dagster instance migrate` does. Not for an instance
    that other processes use.
    """
    storages = (instance.run_storage, instance.event_log_storage, instance.schedule_storage)
    revisions = [one.alembic_version() for one in storages if one is not None]
    if any(revision is not None and revision[0] != revision[1] for revision in revisions):
        instance.upgrade()
