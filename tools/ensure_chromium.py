"""Sees to it that the browser tests find Chromium: exit 0 when one answers, install it when root, else name the line to type.

`python tools/ensure_chromium.py`, called by `make test` and `make bench`.
It uses the system's package manager only, never Playwright's own download, and never asks for a password.
It does not cover Windows.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable

EXECUTABLE = "chromium"
"""The name the browser tests look up on the PATH."""

MANAGERS: dict[str, list[list[str]]] = {
    "apt-get": [["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", "chromium"]],
    "dnf": [["dnf", "install", "-y", "chromium"]],
    "pacman": [["pacman", "-Sy", "--noconfirm", "chromium"]],
    "apk": [["apk", "add", "chromium"]],
}
"""Package manager → the commands that install Chromium with it, in order; the first manager present is taken."""


def answers(executable: str = EXECUTABLE) -> bool:
    """True when the browser starts far enough to say its version: a snap's stand-in or a missing library does not."""
    path = shutil.which(executable)
    if path is None:
        return False
    try:
        return subprocess.run([path, "--version"], capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def installation(which: Callable[[str], str | None] = shutil.which) -> list[list[str]]:
    """The commands for this machine's package manager; empty when none of those known is present."""
    return next((commands for manager, commands in MANAGERS.items() if which(manager)), [])


def remedy(commands: list[list[str]]) -> str:
    """The one line to type, as a sentence for someone who is not root."""
    if not commands:
        return f"The browser tests need Chromium: install it so that `{EXECUTABLE}` is on the PATH."
    line = " && ".join("sudo " + " ".join(command) for command in commands)
    return f"The browser tests need Chromium, and installing it needs root. Type: {line}"


def main() -> int:
    """Exit status 0 when Chromium answers, 1 with a sentence on stderr otherwise."""
    if answers():
        return 0
    commands = installation()
    if os.geteuid() != 0 or not commands:
        print(remedy(commands), file=sys.stderr)
        return 1
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in commands:
        print("+ " + " ".join(command), flush=True)
        status = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL).returncode
        if status != 0:
            print(f"`{' '.join(command)}` failed with status {status}: install Chromium by hand and call make again.", file=sys.stderr)
            return 1
    if not answers():
        print(f"Chromium was installed, yet `{EXECUTABLE} --version` does not run on this machine: see what it prints.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
