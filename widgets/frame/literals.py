"""Names and values as Python that a person copies: whatever they hold, they are literals there and nothing else."""

import keyword
from typing import Any


def argument(name: str, value: Any) -> str:
    """`learning_rate=0.0001`; a name that could not stand there, from a journal of another's, as `**{'...': 0.0001}`."""
    return f"{name}={value!r}" if name.isidentifier() and not keyword.iskeyword(name) else f"**{{{name!r}: {value!r}}}"
