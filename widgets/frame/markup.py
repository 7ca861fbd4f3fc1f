"""What stands between tags: every text that a panel writes into HTML passes `escape` here. Makes no tags itself."""

from html import escape as _escape

from workbench.legible import words

MOST = 20_000
"""Letters of one text: more than a person reads in a panel, and little enough to send."""


def escape(text: object, most: int = MOST) -> str:
    """`text` as HTML shows it letter by letter, also within the quotes of an attribute: no tags, no control characters, no marks that turn the
    order of words; cut with an ellipsis after `most` letters."""
    return _escape(words(text, most, most))
