"""Fork server: a process that does nothing but fork others, with everything it has imported.

`multiprocessing` starts the server of its start method `forkserver` as a new interpreter. `start_fork_server` forks it
from the calling process, so that the two share their imports and most of their memory.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, NoReturn

from zk_pipeline.runtime.processes import end_with_parent

# Environment in which imports start no threads: OpenBLAS (numpy) starts one per core, the allocator of pyarrow one.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}

_log = logging.getLogger(__name__)


def start_fork_server(address: Path) -> bool:
    """Fork the server of the start method `forkserver` from this process. `address`: path of its Unix socket.

    The server ends after this process and the last process that it has forked. If it dies, the kernel kills those
    processes, because their exit codes would be lost, and this process gets SIGTERM.

    Returns False and starts nothing if this process has other threads, whose locks would stay locked in a forked
    process, and on systems other than Linux, where threads are not counted in /proc.
    """
    if not can_fork():
        _log.warning("no fork server: this process has other threads, or is not on Linux")
        return False
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(address))
    address.chmod(0o600)
    listener.listen()
    alive_reader, alive_writer = os.pipe()  # the server ends when no process has the writer open
    pid = os.fork()
    if pid == 0:
        os.close(alive_writer)
        _serve(listener, alive_reader)
    listener.close()
    os.close(alive_reader)
    # What ForkServer.ensure_running notes about a server that it has started; no public name sets it.
    client: Any = forkserver._forkserver
    client._forkserver_address, client._forkserver_alive_fd, client._forkserver_pid = str(address), alive_writer, pid
    threading.Thread(target=_end_after, args=(pid,), name="fork server watch", daemon=True).start()
    return True


def can_fork() -> bool:
    """True if a forked process works as this one would: on Linux, without a second thread."""
    return sys.platform == "linux" and len(list(Path("/proc/self/task").iterdir())) == 1


def _serve(listener: socket.socket, alive_reader: int) -> NoReturn:
    """Fork a process per request until no client is left. In the process of the fork server."""
    server, has_begun = os.getpid(), False

    def begin() -> None:
        nonlocal has_begun
        if has_begun:  # a process that a forked one has forked
            return
        has_begun = True
        end_with_parent(signal.SIGKILL)
        if os.getppid() != server:  # it died before
            os._exit(1)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    # SIGTERM to all processes of a service must not end the server before the processes that it has forked. Blocked and
    # not ignored: a forked process that gets it at once ends.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    os.register_at_fork(after_in_child=begin)
    try:
        forkserver.main(listener.fileno(), alive_reader, [])
    finally:
        os._exit(0)


def _end_after(server: int) -> None:
    """Send SIGTERM to this process when the fork server ends."""
    os.waitid(os.P_PID, server, os.WEXITED | os.WNOWAIT)
    _log.error("the fork server (process %d) ended unexpectedly", server)
    os.kill(os.getpid(), signal.SIGTERM)
