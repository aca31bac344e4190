"""Sources of MERGE statements."""

from __future__ import annotations

import re
from pathlib import Path

import zk_pipeline

_PACKAGE = Path(zk_pipeline.__file__).parent
_TEXT = "\n".join(path.read_text() for kind in ("*.py", "*.sql") for path in sorted(_PACKAGE.rglob(kind)))
_MERGES = re.findall(r"MERGE\s+INTO\s+(\w+)(?:\s+AS\s+\w+)?\s+USING\s+(\S+)", _TEXT)


def test_the_source_of_each_merge_is_a_temporary_table() -> None:
    """A source that reads the target of its MERGE can fail on a shared store with "Out of buffer": DuckDB's reader of
    Parquet files fails with deleted rows and lists.
    """
    tables = set(re.findall(r"CREATE(?: OR REPLACE)? TEMP TABLE (\w+)", _TEXT))

    assert len(_MERGES) == len(re.findall(r"MERGE\s+INTO", _TEXT)) > 0
    assert [(target, source) for target, source in _MERGES if source not in tables] == []
