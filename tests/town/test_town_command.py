"""The town's command when nobody reads to the end."""

import subprocess
import sys

from workbench import town


def test_a_reader_who_has_seen_enough_ends_the_list_quietly():
    command = [sys.executable, "-u", "-m", "workbench", "town", "list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env={"PYTHONPATH": str(town.base_folder().parents[3])}) as listing:
        assert listing.stdout.readline().startswith("town:")
        listing.stdout.close()
        assert listing.stderr.read() == ""
    assert listing.returncode == 0
