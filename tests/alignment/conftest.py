"""Databases for the preference store: a file of SQLite, and a PostgreSQL of the tests' own, started from the system's packages as a user that is not root."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from glob import glob
from pathlib import Path

import pytest


def program(name: str) -> str | None:
    found = sorted(glob(f"/usr/lib/postgresql/*/bin/{name}"))
    return found[-1] if found else shutil.which(name)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    initdb, pg_ctl = program("initdb"), program("pg_ctl")
    if not (initdb and pg_ctl):
        pytest.skip("PostgreSQL is not installed")
    folder = Path(tempfile.mkdtemp(prefix="workbench-postgres-"))  # pytest's own folders are closed to other users
    account: dict = {}
    if os.geteuid() == 0:  # it refuses to run as root
        account = {"user": "nobody"}
        shutil.chown(folder, "nobody")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data, options = folder / "data", dict(check=True, capture_output=True, cwd=folder, **account)
    subprocess.run([initdb, "-D", data, "-U", "tester", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"], **options)
    settings = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off -c max_connections=100"
    subprocess.run([pg_ctl, "-D", data, "-o", settings, "-l", folder / "log", "-w", "start"], **options | {"stdin": subprocess.DEVNULL})
    try:
        yield f"postgresql+psycopg://tester@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([pg_ctl, "-D", data, "-m", "immediate", "stop"], **options)
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return str(tmp_path / "preferences.db")
    import sqlalchemy as sql

    address = request.getfixturevalue("postgres")
    engine = sql.create_engine(address, isolation_level="AUTOCOMMIT")
    with engine.connect() as there:
        there.execute(sql.text("DROP SCHEMA public CASCADE"))
        there.execute(sql.text("CREATE SCHEMA public"))
    engine.dispose()
    return address
