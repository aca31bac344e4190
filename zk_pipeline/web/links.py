"""Where the Dagster UI shows what a page is about. Everything is None where ZK_PIPELINE_UI_URL is not set."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True)
class DagsterUi:
    """`url` has no slash at its end."""

    url: str | None

    def run(self, run_id: str | None) -> str | None:
        return f"{self.url}/runs/{quote(run_id, safe='')}" if self.url and run_id else None

    def runs(self) -> str | None:
        return f"{self.url}/runs" if self.url else None

    def partition(self, asset: str, key: object) -> str | None:
        """One partition of an asset: a device of `raw_punches`, a work date of the others."""
        where = f"assets/{asset}?view=partitions&partition={quote(str(key), safe='')}"
        return f"{self.url}/{where}" if self.url else None
