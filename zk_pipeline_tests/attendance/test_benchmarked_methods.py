"""The methods that benchmarks/days.py compares: each computes the same days, in SQL, in plain Python and in pandas."""

from __future__ import annotations

from click.testing import CliRunner

from benchmarks.days import main


def test_all_methods_compute_the_same_rows_and_keys() -> None:
    result = CliRunner().invoke(main, ["check"])
    assert result.exit_code == 0, result.output
    assert "All methods compute the same 849 rows, keys included" in result.output
