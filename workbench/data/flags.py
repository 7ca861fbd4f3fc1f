"""Rows that a person called mislabelled: kept in a small file, and left out of what is trained next.

    flags = Flags("runs/helpful-rm");  flags.add(prompt, chosen, rejected);  rows = flags.without(rows)

A flag is on a verdict about two replies to a prompt, so it finds its row in any table, and is gone once the verdict is turned round. Not
here: who is right (a person says so), and rows that compare nothing.
"""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.data import comparisons, sources
from workbench.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

FILE = "mislabelled.json"
Verdict = tuple[str, str, str]
"""Prompt, the reply that was chosen, the one that was not: the texts of their last turns."""


class Flags:
    """The flags in `folder` (a run's, or where data lies), read now; every change is written at once. Raises `DataError` for a file that is
    none of flags."""

    def __init__(self, folder: str | Path):
        self.path = Path(folder).expanduser() / FILE
        self.verdicts: list[Verdict] = []
        if self.path.exists():
            try:
                told = json.loads(self.path.read_text(encoding="utf-8"))
                self.verdicts = [(line["prompt"], line["chosen"], line["rejected"]) for line in told]
            except (ValueError, TypeError, KeyError) as error:
                raise DataError(f"{self.path} holds no flags.", "Remove it, or give another folder.") from error

    def __len__(self) -> int:
        return len(self.verdicts)

    def __contains__(self, verdict: Verdict) -> bool:
        return tuple(verdict) in self.verdicts

    def add(self, prompt: str, chosen: str, rejected: str) -> None:
        """Raises `OSError` where the disk refuses; nothing is flagged then."""
        if (prompt, chosen, rejected) not in self:
            self._write([*self.verdicts, (prompt, chosen, rejected)])

    def remove(self, prompt: str, chosen: str, rejected: str) -> None:
        self._write([verdict for verdict in self.verdicts if verdict != (prompt, chosen, rejected)])

    def _write(self, verdicts: list[Verdict]) -> None:
        body = [dict(zip(("prompt", "chosen", "rejected"), verdict, strict=True)) for verdict in verdicts]
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(body, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        os.replace(partial, self.path)
        self.verdicts = verdicts

    def without(self, rows: Any) -> "pa.Table":
        """The rows, whatever `load_rows` takes, that no flag is on. Of a ranking one flagged verdict takes the whole row.

        Raises `DataError` where rows compare nothing, or where none is left.
        """
        table = rows if hasattr(rows, "to_batches") else sources.load_rows(rows)
        flagged, gone = set(self.verdicts), set()
        for found in comparisons.read(table) if flagged else ():
            prompt, replies = comparisons.words(found["prompt"]), [comparisons.words(reply) for reply in found["replies"]]
            compared = [(0, 1)] if len(replies) == 2 else [pair[:2] for pair in found["pairs"]]
            if any((prompt, replies[better], replies[worse]) in flagged for better, worse in compared):
                gone.add(found["row"])
        if gone and len(gone) == table.num_rows:
            raise DataError("Every row is flagged as mislabelled, so none is left.", "Take some flags away.")
        return table.take([row for row in range(table.num_rows) if row not in gone]) if gone else table
