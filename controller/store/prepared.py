"""A call's statements, compiled once for each set of columns and handed to the driver as text.

SQLAlchemy compares a statement with its cache and builds its parameters anew at each execution, which costs more
than SQLite takes to run it. The text, the order of the parameters, the columns' own defaults and the conversion
of each type are still SQLAlchemy's, and so are its errors (docs/adr/1202). Rows come as the driver has them:
only columns of text and numbers may be read.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy.engine import Connection, CursorResult, Dialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import Delete, Insert, Update
from sqlalchemy.sql.selectable import Select

Statement = Insert | Update | Delete | Select[Any]
Convert = Callable[[Any], Any]
#: Statements of a call by their sets of columns, for the two dialects; there are some fifteen.
MOST_KEPT = 100


@dataclass(frozen=True, slots=True)
class _Ready:
    text: str
    names: tuple[str, ...]  # of the parameters, in their order
    converted: tuple[tuple[str, Convert], ...]
    defaults: Mapping[str, Any]
    positional: bool

    def parameters(self, values: Mapping[str, Any]) -> Any:
        given = {**self.defaults, **values}
        for name, convert in self.converted:
            given[name] = convert(given[name])
        return tuple(map(given.__getitem__, self.names)) if self.positional else given


def run(connection: Connection, statement: Statement, values: Mapping[str, Any]) -> CursorResult[Any]:
    """Run a statement that is made once for all (a module's constant) with these values.

    Raises:
        SQLAlchemy's errors, as `Connection.execute` does; KeyError: a value is missing.
    """
    ready = _ready(statement, connection.dialect, tuple(values))
    return connection.exec_driver_sql(ready.text, ready.parameters(values))


@lru_cache(maxsize=MOST_KEPT)
def _ready(statement: Statement, dialect: Dialect, columns: tuple[str, ...]) -> _Ready:
    compiled = statement.compile(dialect=dialect, column_keys=columns)
    assert isinstance(compiled, SQLCompiler)
    names = tuple(compiled.positiontup or compiled.binds)
    converters = ((name, compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect)) for name in names)
    return _Ready(
        compiled.string, names, tuple((name, convert) for name, convert in converters if convert is not None),
        _defaults(compiled), positional=compiled.positional,
    )  # fmt: skip


def _defaults(compiled: SQLCompiler) -> dict[str, Any]:
    """The values that stand in the statement, and those for columns that no value is given for."""
    found = {name: bound.effective_value for name, bound in compiled.binds.items() if not bound.required}
    for column in (*compiled.insert_prefetch, *compiled.update_prefetch):
        default: Any = column.default if column in compiled.insert_prefetch else column.onupdate
        assert default.is_scalar, f"the default of {column} is not a value"
        found[column.name] = default.arg
    return found
