"""Nothing slow happens while the store is held: no pandas, no network, no sleep. Read from the source itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[3] / "zk_pipeline"
HOLDS = ("read", "write", "exclusive")
SLOW_MODULES = ("pd", "pandas", "requests", "socket", "urllib", "subprocess")
SLOW_METHODS = ("df", "fetchdf", "to_pandas", "from_pandas", "groupby", "sleep")
# By where and what: a device's zone changes once in years, its clock is corrected hardly more often, and the instants
# must be those of one state of the store.
ALLOWED = {
    (f"store/terminals/{name}.py", what) for name in ("devices", "clock_corrections") for what in ("df", "to_instants")
}


def held_code(tree: ast.AST) -> Iterator[ast.stmt]:
    """What runs under the lock: bodies of `with database.read(…)`, and of functions that are given a Connection."""
    for node in ast.walk(tree):
        if isinstance(node, ast.With) and any(_is_hold(item.context_expr) for item in node.items):
            yield from node.body
        if isinstance(node, ast.FunctionDef) and any(
            argument.annotation is not None and ast.unparse(argument.annotation) == "Connection"
            for argument in node.args.args
        ):
            yield from node.body


def _is_hold(called: ast.expr) -> bool:
    return (
        isinstance(called, ast.Call)
        and isinstance(called.func, ast.Attribute)
        and called.func.attr in HOLDS
        and ast.unparse(called.func.value).endswith("database")
    )


def slow_calls(code: ast.stmt) -> Iterator[str]:
    for node in ast.walk(code):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            root, _, last = name.partition(".")[0], "", name.rpartition(".")[2]
            if root in SLOW_MODULES or last in SLOW_METHODS or last == "to_instants":
                yield last


def found_in(tree: ast.AST) -> set[str]:
    return {name for code in held_code(tree) for name in slow_calls(code)}


def test_no_pandas_no_network_and_no_sleep_while_the_store_is_held() -> None:
    found = {
        (str(path.relative_to(PACKAGE)), name)
        for path in PACKAGE.rglob("*.py")
        for name in found_in(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found == ALLOWED


def test_the_watch_notices_what_it_is_there_for() -> None:
    inside = ast.parse(
        "with self.database.read('x') as c:\n    frame = c.execute('SELECT 1').df()\n    requests.get('x')\n"
        "def f(connection: Connection) -> None:\n    pd.DataFrame()\n"
    )
    outside = ast.parse("with self.database.read('x') as c:\n    pass\nframe = c.df()\n")
    assert found_in(inside) == {"df", "get", "DataFrame"}
    assert found_in(outside) == set()
