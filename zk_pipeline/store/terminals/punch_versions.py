"""Version of the punches of a device: changes exactly with new punches, whatever way they arrive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from zk_pipeline.store.engine.database import Connection


def punch_versions(
    connection: Connection, devices: Sequence[str], *, new_polls: Mapping[str, int] | None = None
) -> dict[str, str]:
    """The latest poll and the latest upload with new punches, such as `poll 57, upload 12`, by device; none without
    punches. `new_polls`: polls with new punches by device that have no row yet.

    Retention keeps the rows of these polls and uploads.
    """
    polls = {**_newest_polls(connection, devices), **(new_polls or {})}
    uploads = _newest_uploads(connection, devices)
    found = {}
    for name in devices:
        parts = [f"poll {polls[name]}"] if name in polls else []
        parts += [f"upload {uploads[name]}"] if name in uploads else []
        if parts:
            found[name] = ", ".join(parts)
    return found


def _newest_polls(connection: Connection, devices: Sequence[str]) -> dict[str, int]:
    rows = connection.execute(
        'SELECT device, max(id) FROM device_polls WHERE "new" > 0 AND list_contains(?, device) GROUP BY 1',
        [list(devices)],
    ).fetchall()
    return dict(rows)


def _newest_uploads(connection: Connection, devices: Sequence[str]) -> dict[str, int]:
    if not connection.execute("SELECT EXISTS (SELECT 1 FROM push_terminals)").fetchall()[0][0]:
        return {}
    pushing = connection.execute(
        "SELECT device FROM push_terminals WHERE list_contains(?, device)", [list(devices)]
    ).fetchall()
    if not pushing:
        return {}
    rows = connection.execute(
        "SELECT device, max(id) FROM push_batches WHERE stored > 0 AND list_contains(?, device) GROUP BY 1",
        [[row[0] for row in pushing]],
    ).fetchall()
    return dict(rows)
