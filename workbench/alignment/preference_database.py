"""The database under a preference store: its tables, and transactions that neither lose nor wait long when a class writes at once.

A file of SQLite in write-ahead mode, or PostgreSQL by its URL, through SQLAlchemy. A transaction that has returned survives whatever kills
the process; only a machine that loses its power may take the last ones of a SQLite file along (synchronous=NORMAL: the file itself stays
whole). Not here: what is asked of it (`preferences.py`).
"""

import contextlib
import fcntl
import importlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import DataError

if TYPE_CHECKING:
    import sqlalchemy

VERSION = 2
"""Of the tables, in a file of SQLite."""
APPLICATION = 0x57425052
"""Whose file of SQLite it is: "WBPR"."""
ANOTHER = "Give another one; it is made where it is not there."
BUSY_S = 30
"""How long a write waits for another one to end before it is an error."""
CONNECT_S = 5
"""How long a server may take to answer before it is not there."""
MAKING = 5107734127
"""PostgreSQL's lock for whoever makes the tables."""


SECRET = re.compile("pass|pwd|secret|credential|signature|(token|key|auth)$", re.IGNORECASE)
"""In a query field's name: its value is nobody else's business."""


def secret_fields(names: Iterable[str]) -> list[str]:
    """Those of an address' query fields that hold a password or a key, by their names."""
    return [name for name in names if SECRET.search(name)]


def shown(text: str) -> str:
    """A database URL with *** for its password, wherever it stands. Raises `DataError` for what is no URL of a database."""
    address = _parsed(text)
    masked = address.update_query_dict(dict.fromkeys(secret_fields(address.query), "***"))
    return masked.render_as_string(hide_password=True).replace("%2A%2A%2A", "***")


def _parsed(text: str) -> "sqlalchemy.URL":
    import sqlalchemy as sql

    try:
        return sql.make_url(text)
    except (sql.exc.ArgumentError, ValueError):  # a port that is no number
        remedy = 'Use a file, or "postgresql+psycopg://user@host/name".'
        raise DataError("The address of the preferences is no database URL.", remedy) from None


class Database:
    """`Database(path or URL)`; `tables` by name. Raises `DataError` where it cannot be opened or made."""

    def __init__(self, url: str | os.PathLike) -> None:
        import sqlalchemy as sql

        if not isinstance(url, (str, os.PathLike)) or not str(url):
            raise DataError(f"The preferences cannot be kept in {url!r}.", 'Give a file, such as "preferences.db", or a database URL.')
        text = os.fspath(url)
        if "://" not in text:
            try:
                path = Path(text).expanduser().resolve()
                there = path.parent.is_dir()
            except (OSError, ValueError) as error:  # NUL in it
                remedy = "Give a file in a folder that you may write."
                raise DataError(f"The preferences cannot be kept in {text!r}: {getattr(error, 'strerror', None) or error}.", remedy) from error
            if not there:  # a folder mistyped is not made
                raise DataError(f"The preferences cannot be kept in {text!r}: there is no folder {path.parent}.", "Make that folder, or give another file.")
            address: Any = sql.URL.create("sqlite", database=str(path))
        else:
            address = _parsed(text)
        backend = address.get_backend_name()
        if backend not in ("sqlite", "postgresql"):
            raise DataError(f"Preferences are not kept in {backend}.", "Use a file of SQLite, or PostgreSQL.")
        self.address: str = str(address.database) if "://" not in text else shown(text)
        """The file, or the URL with *** for a password."""
        self._sqlite = backend == "sqlite"
        self._turn_file = f"{address.database}-turn" if self._sqlite and address.database not in (None, "", ":memory:") else None
        waits = {"timeout": BUSY_S} if self._sqlite else {"connect_timeout": CONNECT_S}
        try:
            self._engine = sql.create_engine(address, connect_args=waits, pool_pre_ping=not self._sqlite)
        except (sql.exc.NoSuchModuleError, ModuleNotFoundError) as error:
            remedy = "Install it: pip install 'psycopg[binary]' for PostgreSQL."
            raise DataError(f"There is no driver for {address.drivername}.", remedy) from error
        self._dialect = importlib.import_module(f"sqlalchemy.dialects.{backend}")  # now: whoever judges first should not wait for it
        if self._sqlite:
            _settings_of_sqlite(self._engine)
        self.tables = _tables(sql)
        self.do(self._made)

    def close(self) -> None:
        """Let go of the connections; new ones are opened when there is something to do."""
        self._engine.dispose()

    def do(self, work: Callable[["sqlalchemy.Connection"], Any], writes: bool = True) -> Any:
        """What `work(connection)` gives, in one transaction: whole, or not at all. Raises `DataError` where the database fails."""
        import sqlalchemy as sql

        try:
            with (
                self._engine.connect().execution_options(writes=writes) as there,
                self._turn() if writes else contextlib.nullcontext(),
                there.begin(),
            ):
                return work(there)
        except sql.exc.OperationalError as error:
            told = str(error.orig).splitlines()[0].rstrip(".")
            remedy = "Check the file or the server, and try again."
            raise DataError(f"The preferences cannot be read or written: {told}.", remedy) from error
        except sql.exc.DatabaseError as error:
            told = str(error.orig).splitlines()[0].rstrip(".")
            raise DataError(f"This is no database of preferences: {told}.", "Give another file.") from error

    def insert(self, table: "sqlalchemy.Table", key: dict[str, Any], more: dict[str, Any]) -> Any:
        """A row that is written once, however often."""
        return self._dialect.insert(table).values(**key, **more).on_conflict_do_nothing(index_elements=list(key))

    def kept(self, there: "sqlalchemy.Connection", table: "sqlalchemy.Table", key: dict[str, Any], more: dict[str, Any]) -> int:
        """The number of the row with this key, written if it is not there."""
        import sqlalchemy as sql

        there.execute(self.insert(table, key, more))
        return there.execute(sql.select(table.c.id).where(*(table.c[name] == value for name, value in key.items()))).scalar_one()

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Writers of one SQLite file queue here, woken one by one by the kernel: SQLite itself would let them try again after ever longer
        sleeps, and who comes later overtakes. A file of its own, since closing the database's would drop SQLite's locks."""
        if self._turn_file is None:
            yield
            return
        try:
            turn = os.open(self._turn_file, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            where = f"Use a folder that you may write, instead of {Path(self._turn_file).parent}."
            raise DataError(f"The preferences cannot be written: {error.strerror}.", where) from error
        try:
            fcntl.flock(turn, fcntl.LOCK_EX)
            yield
        finally:
            os.close(turn)

    def _made(self, there: "sqlalchemy.Connection") -> None:
        import sqlalchemy as sql

        if self._sqlite:  # a write: the log's beginning is flushed to the disk now, and the first who judges does not wait for it
            there.exec_driver_sql(f"PRAGMA application_id={APPLICATION}")
            there.exec_driver_sql(f"PRAGMA user_version={VERSION}")
        else:  # two who make a table at once get in each other's way, IF NOT EXISTS or not
            there.execute(sql.text(f"SELECT pg_advisory_xact_lock({MAKING})"))
            found = sql.inspect(there)
            for name, table in self.tables.items():
                if found.has_table(name) and not {column["name"] for column in found.get_columns(name)} >= set(table.columns.keys()):
                    raise DataError(f"The database has a table {name!r} that is not of preferences as they are kept now.", ANOTHER)
        for table in self.tables.values():
            there.execute(sql.schema.CreateTable(table, if_not_exists=True))
            for index in table.indexes:
                there.execute(sql.schema.CreateIndex(index, if_not_exists=True))


def _tables(sql: Any) -> dict[str, Any]:
    meta = sql.MetaData()
    number = lambda: sql.Column("id", sql.Integer, primary_key=True, autoincrement=True)  # noqa: E731
    return {
        "prompts": sql.Table(
            "prompts",
            meta,
            number(),
            sql.Column("digest", sql.String(64), nullable=False, unique=True),  # of the text, which is too long for an index of PostgreSQL
            sql.Column("text", sql.Text, nullable=False),
        ),
        "replies": sql.Table(
            "replies",
            meta,
            number(),
            sql.Column("prompt_id", sql.ForeignKey("prompts.id"), nullable=False),
            sql.Column("source", sql.Text, nullable=False),
            sql.Column("text", sql.Text, nullable=False),
            sql.UniqueConstraint("prompt_id", "source"),
        ),
        "judgements": sql.Table(
            "judgements",
            meta,
            number(),
            sql.Column("number", sql.String(64), nullable=False, unique=True),
            sql.Column("kind", sql.String(16), nullable=False),
            sql.Column("prompt_id", sql.ForeignKey("prompts.id"), nullable=False),
            sql.Column("shown", sql.Text, nullable=False),
            sql.Column("verdict", sql.Text, nullable=False),
            sql.Column("judge", sql.Text, nullable=False),
            sql.Column("at", sql.Float, nullable=False),
            sql.Column("again", sql.Boolean, nullable=False),
            sql.Column("withdrawn", sql.Float),
            sql.Index("judgements_of_a_judge", "judge", "kind"),
            sql.Index("judgements_of_a_prompt", "kind", "prompt_id", "withdrawn"),
        ),
    }


def _refuse_foreign(connection: Any) -> None:
    """A file that is not empty and not of preferences stays as it is: even the journal's mode would be written into it."""
    connection.execute("BEGIN")  # one look at all three, whoever makes the tables now
    [held] = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    [whose], [version] = (connection.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version"))
    connection.execute("COMMIT")
    if (whose, version) == (APPLICATION, VERSION) or (not held and (whose, version) == (0, 0)):
        return
    connection.close()
    if whose == APPLICATION:
        raise DataError(f"These preferences were kept by another version ({version}, not {VERSION}).", ANOTHER)
    raise DataError("This is a database of something else than preferences, or of an earlier version of them.", ANOTHER)


def _settings_of_sqlite(engine: "sqlalchemy.Engine") -> None:
    """Write-ahead, so that readers do not wait for a writer; what writes begins as a writer, so that two never wait for each other."""
    import sqlalchemy as sql

    @sql.event.listens_for(engine, "connect")
    def connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        _refuse_foreign(connection)
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @sql.event.listens_for(engine, "begin")
    def begun(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes", True) else "BEGIN")
