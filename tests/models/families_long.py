"""Every family with every check of `family_tools.py`, by command: `python -m tests.models.families_long [FAMILY ...]` prints a table.

The short form in `make test` is `test_families.py`. The table that was printed stands in `docs/families.md`. Exit status 1 where one failed.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
os.environ.setdefault("WORKBENCH_QUEUE", tempfile.mkdtemp(prefix="workbench-queue-"))


def main(names: list[str]) -> int:
    import transformers

    from tests.models.family_tools import CHECKS, FAMILIES, folder_of
    from workbench.errors import WorkbenchError

    warnings.filterwarnings("ignore")
    transformers.utils.logging.set_verbosity_error()
    failed = 0
    print(f"| family | check | holds | measured | s |\n|{'---|' * 5}")
    for name in names or FAMILIES:
        with tempfile.TemporaryDirectory() as place:
            folder = folder_of(name, Path(place) / "model")
            for check, measure in CHECKS.items():
                begin = time.perf_counter()
                runs = Path(place) / check.replace(" ", "-").replace(",", "")
                runs.mkdir()
                try:
                    found, holds = measure(folder, runs), "yes"
                except (AssertionError, RuntimeError, ValueError, TypeError, AttributeError, LookupError, OSError,
                        WorkbenchError) as error:  # a table with a line for each is what was asked for
                    found, holds, failed = {f"{type(error).__name__}: {str(error).strip().splitlines()[0][:160] if str(error).strip() else ''}": 0}, "**no**", failed + 1
                told = ", ".join(f"{key} {value:.3g}" if value else key for key, value in found.items())
                print(f"| {name} | {check} | {holds} | {told} | {time.perf_counter() - begin:.1f} |", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
