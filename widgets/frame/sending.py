"""What a widget's page gets of text that others wrote: legible and not without end, while Python keeps it as it is.

For traits that a page shows: `traitlets.Dict().tag(sync=True, to_json=legible("key"))`. Escapes nothing: the page sets it as text.
"""

from collections.abc import Callable
from typing import Any

from workbench.legible import letters, whole_characters

MOST = 20_000
"""Letters of one text."""


def legible(*ids: str) -> Callable[[Any, Any], Any]:
    """A `to_json` of a trait: every text in it by `workbench.legible.letters`; entries named in `ids`, which the page sends back, whole but for
    half characters."""
    def sent(value: Any, key: str = "") -> Any:
        if isinstance(value, str):
            return whole_characters(value) if key in ids else letters(value, MOST)
        if isinstance(value, dict):
            return {whole_characters(str(name)): sent(part, name) for name, part in value.items()}
        if isinstance(value, (list, tuple)):
            return [sent(part, key) for part in value]
        return value

    return lambda value, _widget: sent(value)
