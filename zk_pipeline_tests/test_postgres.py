"""The PostgreSQL of these tests: that it is real, apart from others, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from zk_pipeline_tests.postgres import Postgres
from zk_pipeline_tests.waiting import child, until

_STARTS_ONE = """
    from zk_pipeline_tests.postgres import postgres_server
    with postgres_server() as server:
        print(server.pid, server.log.parent, flush=True)
        input()
"""


def test_databases_are_empty_and_apart(postgres: Postgres) -> None:
    one, two = (postgres.fresh_database().rpartition("/")[2] for _ in range(2))
    postgres.run("CREATE TABLE kept (number INTEGER)", one)
    assert postgres.run("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", one) == "1"
    assert postgres.run("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", two) == "0"


@pytest.mark.usefixtures("postgres")
def test_a_server_ends_with_a_test_process_that_is_killed() -> None:
    with child(_STARTS_ONE) as starting:
        words, folder = starting.hear().split()
        server = int(words)
        assert Path(f"/proc/{server}").exists()
        os.kill(starting.pid, signal.SIGKILL)
        until(lambda: not _runs(server))
    shutil.rmtree(folder)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
