"""What the arena is set to: plain values, as JSON and back. Holds no judgement and no password."""

from dataclasses import dataclass

KINDS = {"pair": "Pairs", "ranking": "Ranks", "thumbs": "Thumbs", "scores": "Scores"}
"""Kinds of judgement, and how they are called."""
ROWS = {"paired": "Paired", "ranked": "Ranked", "unpaired": "Unpaired", "scored": "Scored"}
SCORES = (1, 2, 3, 4, 5)
MOST_REPLIES = 6


@dataclass(slots=True)
class State:
    """The settings of one arena."""

    source: str = "preferences.db"
    """The store: a file, or a database URL with *** for its password."""
    judge: str = ""
    """Who judges here."""
    view: str = "judge"
    """"judge", where no model's name is seen, or "results"."""
    kind: str = "pair"
    replies: int = 3
    """Replies side by side in a ranking."""
    criteria: tuple[str, ...] = ("helpful", "honest", "harmless")
    """What scores are given for."""
    rows: str = "paired"
    file: str = ""
    """Where training rows are written; nowhere where it is empty."""
