"""peft without the lines that its dependencies print on import and that no reader can act on."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def quiet_peft() -> Iterator[Any]:
    """Yields the module `peft`. Hidden inside: bitsandbytes naming an optional package on CPU, and transformers' renaming of a property peft still reads."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, message=".*is_gradient_checkpointing")
        import peft

        yield peft
