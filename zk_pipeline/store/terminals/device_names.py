"""Names of the registered devices and sites, apart from the registry and its imports: for the completion of a shell."""

from __future__ import annotations

from zk_pipeline.store.engine.database import Connection


def device_names(connection: Connection) -> list[str]:
    """Names of all registered devices, in order."""
    rows = connection.execute("SELECT name FROM devices WHERE removed_at IS NULL ORDER BY name").fetchall()
    return [str(name) for (name,) in rows]


def site_names(connection: Connection) -> list[str]:
    """Sites of all registered devices, in order."""
    rows = connection.execute("SELECT DISTINCT site FROM devices WHERE removed_at IS NULL ORDER BY site").fetchall()
    return [str(site) for (site,) in rows]
