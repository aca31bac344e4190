"""Home directory of the demo, separate from the user's data. Reused by later runs; emptied for another company."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, MutableMapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from zk_pipeline.config.home import export_home
from zk_pipeline.config.settings import VARIABLES
from zk_pipeline.demo.company import Company
from zk_pipeline.errors import UsageError
from zk_pipeline.runtime.supervisor import LOCK_FILE
from zk_pipeline.simulator.company.storage import WorkforceStorage
from zk_pipeline.simulator.company.workforce import generate

_MARKER = "demo.json"


@dataclass(frozen=True)
class Workspace:
    """A demo home: its environment without `.env`, the terminals' journal, the CRM's ledger."""

    home: Path

    @property
    def ledger(self) -> Path:
        return self.home / "crm-ledger.jsonl"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    def create(self) -> None:
        """Create the folder. Raises UsageError on failure."""
        try:
            self.home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"the demo's home {self.home} cannot be created: {error.strerror}") from error

    def prepare(self, company: Company, *, until: datetime) -> WorkforceStorage:
        """The existing company if it has the requested size, else a new one in an emptied home.

        The home must exist, and the caller must have its lock (`supervisor.single_instance`). Raises UsageError for a
        folder with other files.
        """
        marker = self.home / _MARKER
        terminals = self.home / "terminals"
        if not marker.is_file() and any(item.name != LOCK_FILE for item in self.home.iterdir()):
            raise UsageError(f"{self.home} is not a demo's home: it has no {_MARKER}; move it away")
        if not (self._is_of(company) and WorkforceStorage.exists(terminals)):
            self._empty()
            _write(marker, json.dumps(asdict(company)))
            WorkforceStorage.create(terminals, generate(**asdict(company), until=until)).close()
        return WorkforceStorage.load(terminals)

    def enter(self, environ: MutableMapping[str, str], demo: Mapping[str, str]) -> None:
        """Replace the user's settings in `environ` by the demo's."""
        for name in (*VARIABLES, "DAGSTER_HOME"):
            environ.pop(name, None)
        environ.update(demo)
        export_home(self.home, environ)

    def _is_of(self, company: Company) -> bool:
        try:
            return bool(json.loads((self.home / _MARKER).read_text()) == asdict(company))
        except (OSError, ValueError):
            return False

    def _empty(self) -> None:
        # The marker is deleted last, so that after a kill the folder is still recognized as a demo's.
        for item in self.home.iterdir():
            if item.name not in {_MARKER, LOCK_FILE}:
                shutil.rmtree(item) if item.is_dir() and not item.is_symlink() else item.unlink()
        (self.home / _MARKER).unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
