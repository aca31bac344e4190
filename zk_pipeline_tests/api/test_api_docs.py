"""docs/api.md: its commands are run as they stand. Its list of endpoints is generated: docs/test_docs_lists.py."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from zk_pipeline.config.settings import load_settings
from zk_pipeline.http.services import Parts
from zk_pipeline.store.store import Store
from zk_pipeline_tests.api.api_fixtures import serve
from zk_pipeline_tests.api.test_api_contract import Done

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl in PATH")
@pytest.mark.usefixtures("home", "crm")
def test_the_commands_of_the_page_work_in_their_order(filled: Store, tmp_path: Path) -> None:
    commands = "".join(re.findall(r"^```bash\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
    assert commands.count("get ") + commands.count("send ") > 20
    with serve(load_settings(), filled, Parts(actions=Done())) as served:
        script = commands.replace("http://127.0.0.1:8000", served.url)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], check=False,
            cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=100,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert len((tmp_path / "march.csv").read_text().splitlines()) > 50
