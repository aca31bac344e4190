"""Processes of the tests' own that may be killed, forked from one forkserver that has imported what they run.

A process has one forkserver and one list of modules to preload: a second call of `set_forkserver_preload` replaces it.
"""

from __future__ import annotations

import multiprocessing

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(
    [
        "duckdb",
        "pandas",
        "pyarrow",
        "zk_pipeline_tests.crm.sync_children",
        "zk_pipeline_tests.operations.killed",
        "zk_pipeline_tests.store.store_load",
    ]
)
