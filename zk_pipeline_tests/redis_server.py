"""A real Redis for tests, from Debian's package: loopback only, a free port, nothing kept, ended with its starter."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zk_pipeline_tests.ports import free_port
from zk_pipeline_tests.waiting import until


class NoRedis(Exception):
    """Why there is none here."""


@contextmanager
def redis_server() -> Iterator[str]:
    """Its URL without a database number, for as long as the context lasts. Raises NoRedis, saying what is missing."""
    binary = shutil.which("redis-server") or "/usr/bin/redis-server"
    if not Path(binary).exists():
        raise NoRedis("Redis is not installed (Debian: `apt-get install redis-server`)")
    with tempfile.TemporaryDirectory(prefix="zk-redis-") as folder:
        port = free_port()
        settings = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder]
        log = Path(folder) / "log"
        # The kernel ends it when the thread that started it dies.
        command = ["setpriv", "--pdeathsig", "SIGKILL", binary, *settings, "--logfile", str(log)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until(lambda: _listens(port) or process.poll() is not None, seconds=60, every=0.05)
            assert process.poll() is None, log.read_text(errors="replace")
            yield f"redis://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
