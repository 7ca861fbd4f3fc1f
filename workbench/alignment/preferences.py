"""What people think of replies: prompts, replies and judgements in a database that a whole class writes into at once.

    store = PreferenceStore("preferences.db")                      # or "postgresql+psycopg://host/name"
    store.add("Who bakes bread?", {"base": "Bread.", "tuned": "Mira does."})
    item = store.next("ann");  store.judge(item, "right", "ann")
    wb.Recipe(data=store.rows("paired"))

SQLite in write-ahead mode by default, PostgreSQL by its URL. A judgement says who gave it, when, and in which order the replies were shown;
which model wrote which is not in an `Item`, so whoever shows one judges blind. It is kept once `judge` has returned, whatever kills the
process after (`preference_database.py` says how). Not here: ratings (`ratings.py`), agreement (`agreement.py`), rows
(`preference_rows.py`), asking models for replies (`evaluation/replies.py`).
"""

import hashlib
import itertools
import json
import math
import numbers
import os
import random
import time
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.alignment import preference_rows
from workbench.alignment.preference_database import Database
from workbench.errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import sqlalchemy

KINDS = ("pair", "ranking", "thumbs", "scores")
AGAIN = 0.1
"""Share of pairs that a judge is asked a second time, the other way round, so that his agreement with himself is known."""
APART = 5
"""Judgements that lie at least between the two, so that he does not remember."""
LONGEST_NAME = 500
"""Characters of a judge's or source's name: what an index of PostgreSQL holds in any script."""


@dataclass(frozen=True, slots=True)
class Item:
    """What is shown to a judge: a prompt, and replies in the order shown, without their sources. `again`: the pair was judged before by the
    same person, the other way round."""

    prompt: str
    replies: tuple[str, ...]
    prompt_id: int
    reply_ids: tuple[int, ...]
    again: bool = False


class PreferenceStore:
    """`PreferenceStore(path or URL)`; made where it is not there. Raises `DataError` where the database cannot be opened or written."""

    def __init__(self, url: str | os.PathLike = "preferences.db") -> None:
        self._database = Database(url)
        self.address = self._database.address
        """The file, or the URL with *** for a password."""
        self._tables = self._database.tables
        self._kept_replies: tuple[Any, list[Any]] = (None, [])

    def close(self) -> None:
        """Let go of the connections; the store opens new ones when it is asked again."""
        self._database.close()

    # ---- what there is to judge

    def add(self, prompt: str, replies: Mapping[str, str]) -> int:
        """Keep a prompt and its replies by source (a model, run, checkpoint or endpoint by name); returns the prompt's number. What is
        there already stays as it is.

        Raises `DataError` for what is no text, or none that can be written."""
        if not isinstance(replies, Mapping):
            raise DataError(f"The replies are {replies!r}.", 'Give them by source: {"base": "Bread.", "tuned": "Mira does."}.')
        _writable("The prompt", prompt)
        for source, text in replies.items():
            _writable("A reply's source", source, LONGEST_NAME)
            _writable(f"The reply of {source!r}", text)
        prompts, told = self._tables["prompts"], self._tables["replies"]

        def write(there: "sqlalchemy.Connection") -> int:
            digest = hashlib.sha256(prompt.encode()).hexdigest()
            number = self._database.kept(there, prompts, {"digest": digest}, {"text": prompt})
            for source, text in replies.items():
                self._database.kept(there, told, {"prompt_id": number, "source": source}, {"text": text})
            return number

        return self._database.do(write)

    def next(
        self,
        judge: str,
        kind: str = "pair",
        replies: int | None = None,
        seed: int | None = None,
        again: float = AGAIN,
        skipped: Collection[frozenset[int]] = (),
    ) -> Item | None:
        """What `judge` has not judged yet: of the least judged prompts one, and `replies` of its replies (two for a pair or ranking, or one,
        unless given), texts that are equal never beside
        each other, in an order drawn by chance. Now and then (`again`) a pair he has judged, the other way round. `skipped`: sets of
        numbers of replies that he does not want now. None where nothing is left. Writes nothing, and costs no more for what others have
        judged. Raises `DataError` for a kind or number of replies that cannot be judged."""
        import sqlalchemy as sql

        _somebody(judge)
        if kind not in KINDS:
            raise DataError(f"Nothing is judged by {kind!r}.", f"Use one of {', '.join(KINDS)}.")
        replies = (2 if kind in ("pair", "ranking") else 1) if replies is None else replies
        whole = isinstance(replies, int) and not isinstance(replies, bool)
        if not whole or not (replies >= 2 if kind == "ranking" else replies == (2 if kind == "pair" else 1)):
            raise DataError(f"{replies!r} replies are no {kind}.", "A pair has two, a ranking two or more; thumbs and scores are of one.")
        chance, table = random.Random(seed), self._tables["judgements"]
        counts = (
            sql.select(table.c.prompt_id, sql.func.count())
            .where(table.c.kind == kind, table.c.withdrawn.is_(None))
            .group_by(table.c.prompt_id)
        )
        own_rows = self._judgements(kind).where(table.c.judge == judge)
        asked, own, kept = self._look(counts, own_rows, self._replies_with_prompts)
        if kind == "pair" and own and chance.random() < again:
            once = {frozenset(json.loads(row.shown)): row for row in own[:-APART]}
            twice = {frozenset(json.loads(row.shown)) for row in own if row.again}
            left = [row for shown, row in once.items() if shown not in twice and shown not in skipped]
            if left:
                row = chance.choice(left)
                return self._item(kept, row.prompt_id, json.loads(row.shown)[::-1], True)
        by_prompt: dict[int, dict[str, int]] = {}
        for row in kept:
            by_prompt.setdefault(row.prompt_id, {}).setdefault(row.reply, row.id)  # of equal texts the first stands for all
        count = dict.fromkeys(by_prompt, 0) | {number: many for number, many in asked}
        seen = {frozenset(json.loads(row.shown)) for row in own} | set(skipped)
        for number in sorted(by_prompt, key=lambda number: (count[number], chance.random())):
            ids = list(by_prompt[number].values())
            if len(ids) < replies:
                continue
            for _ in range(8 * len(ids)):
                drawn = chance.sample(ids, replies)
                if frozenset(drawn) not in seen:
                    return self._item(kept, number, drawn, False)
            # chance finds the last few seldom; this looks at one more than he has seen at most
            listed = itertools.combinations(chance.sample(ids, len(ids)), replies)
            left = next((some for some in listed if frozenset(some) not in seen), None)  # type: ignore[misc]
            if left is not None:
                return self._item(kept, number, chance.sample(left, replies), False)
        return None

    # ---- judging

    def judge(self, item: Item, winner: str, judge: str, **more: Any) -> str:
        """`winner` is "left", "right" or "tie" of the pair as it was shown. Returns the judgement's number. Raises `DataError` for anything
        else."""
        _shown(item)
        if not isinstance(winner, str) or winner not in ("left", "right", "tie") or len(item.reply_ids) != 2:
            raise DataError(f"{winner!r} is no judgement of {len(item.reply_ids)} replies.", 'Use "left", "right" or "tie" of a pair.')
        return self._write("pair", item, judge, winner, **more)

    def rank(self, item: Item, order: Sequence[int], judge: str, **more: Any) -> str:
        """`order`: the places of the replies as shown (from 0), the best first, every one of them once."""
        _shown(item)
        places = list(order) if isinstance(order, Iterable) and not isinstance(order, str) else []
        whole = all(isinstance(place, numbers.Integral) and not isinstance(place, bool) for place in places)
        if not whole or sorted(places) != list(range(len(item.reply_ids))) or len(places) < 2:
            raise DataError(
                f"The ranking {order!r} does not name each of {len(item.reply_ids)} replies once.",
                "Give their places from 0, the best first.",
            )
        return self._write("ranking", item, judge, [int(place) for place in places], **more)

    def thumb(self, item: Item, up: bool, judge: str, **more: Any) -> str:
        """Whether the one reply shown is good. Raises `DataError` for anything but True or False, and where several are shown."""
        _one(item)
        if not any(up is known for known in (True, False)):
            raise DataError(f"{up!r} is no thumb.", "Use True for up and False for down.")
        return self._write("thumbs", item, judge, bool(up), **more)

    def score(self, item: Item, scores: Mapping[str, float], judge: str, **more: Any) -> str:
        """A finite number for each criterion, of the one reply shown: {"helpful": 4, "honest": 5}. Raises `DataError` for anything else,
        and where several are shown."""
        _one(item)
        fine = isinstance(scores, Mapping) and scores and all(isinstance(name, str) and name.strip() for name in scores)
        if not fine or not all(_number(value) for value in scores.values()):
            raise DataError(f"The scores are {scores!r}.", 'Give a finite number a criterion, such as {"helpful": 4}.')
        return self._write("scores", item, judge, {name: _plain(value) for name, value in scores.items()}, **more)

    def _write(self, kind: str, item: Item, judge: str, verdict: Any, at: float | None = None, number: str = "") -> str:
        """`number` makes writing it again harmless: whoever is not sure that a judgement arrived gives it once more."""
        _somebody(judge)
        number = number or uuid.uuid4().hex
        row = {
            "kind": kind,
            "prompt_id": item.prompt_id,
            "shown": json.dumps(item.reply_ids),
            "verdict": json.dumps(verdict),
            "judge": judge,
            "at": time.time() if at is None else at,
            "again": item.again,
        }
        self._database.do(lambda there: there.execute(self._database.insert(self._tables["judgements"], {"number": number}, row)))
        return number

    def withdraw(self, number: str, judge: str) -> None:
        """Take back a judgement of one's own: it stays in the database and counts no more. A correction is this, and a new judgement.
        Raises `DataError` where `judge` gave none of that number."""
        import sqlalchemy as sql

        table = self._tables["judgements"]
        taken = (
            sql.update(table)
            .where(table.c.number == number, table.c.judge == judge, table.c.withdrawn.is_(None))
            .values(withdrawn=time.time())
        )
        if not self._database.do(lambda there: there.execute(taken).rowcount):
            raise DataError(
                f"{judge} has no judgement {number} that could be taken back.",
                "Use the number that judge() returned, and the name it was given under.",
            )

    # ---- what came of it

    def state(self) -> tuple[int, int, int]:
        """Counts of replies, judgements and withdrawn ones: cheap to ask for, and different whenever something is new."""
        import sqlalchemy as sql

        table = self._tables["judgements"]
        [[replies]], [[given, withdrawn]] = self._look(
            sql.select(sql.func.count()).select_from(self._tables["replies"]),
            sql.select(sql.func.count(), sql.func.count(table.c.withdrawn)),
        )
        return replies, given, withdrawn

    def counts(self) -> "pd.DataFrame":
        """`judge`, `kind` and how many `judgements` he gave of it, without what was asked again. Cheap, however many there are."""
        import pandas as pd
        import sqlalchemy as sql

        table = self._tables["judgements"]
        [rows] = self._look(
            sql.select(table.c.judge, table.c.kind, sql.func.count())
            .where(table.c.withdrawn.is_(None), table.c.again.is_(False))
            .group_by(table.c.judge, table.c.kind)
        )
        return pd.DataFrame([tuple(row) for row in rows], columns=["judge", "kind", "judgements"])

    def replies(self) -> "pd.DataFrame":
        """`prompt`, `source` and `reply` of everything there is to judge."""
        import pandas as pd

        [kept] = self._look(self._replies_with_prompts)
        return pd.DataFrame([(row.text, row.source, row.reply) for row in kept], columns=["prompt", "source", "reply"])

    def judgements(self, kind: str | None = None) -> "pd.DataFrame":
        """One line a judgement in the order given: kind, prompt, judge, at (seconds since 1970), again, `sources` and `replies` as shown,
        and verdict."""
        import pandas as pd

        asked, kept = self._look(self._judgements(kind), self._replies_with_prompts)
        known = {row.id: row for row in kept}
        rows = []
        for row in asked:
            shown = [known[number] for number in json.loads(row.shown)]
            rows.append(
                {
                    "kind": row.kind,
                    "prompt": shown[0].text,
                    "judge": row.judge,
                    "at": row.at,
                    "again": bool(row.again),
                    "sources": [reply.source for reply in shown],
                    "replies": [reply.reply for reply in shown],
                    "verdict": json.loads(row.verdict),
                }
            )
        return pd.DataFrame(rows, columns=["kind", "prompt", "judge", "at", "again", "sources", "replies", "verdict"])

    def votes(self, again: bool = False) -> "pd.DataFrame":
        """`left`, `right`, `winner`, `judge`, `prompt` of every pair judged, left being what was shown first; what was asked again only
        where told. A ranking counts as a vote for each pair of its replies."""
        import pandas as pd

        rows = []
        for row in self.judgements().to_dict("records"):
            if row["again"] and not again:
                continue
            if row["kind"] == "pair":
                rows.append((*row["sources"], row["verdict"], row["judge"], row["prompt"]))
            elif row["kind"] == "ranking":
                place = {number: rank for rank, number in enumerate(row["verdict"])}
                rows += [
                    (row["sources"][i], row["sources"][j], "left" if place[i] < place[j] else "right", row["judge"], row["prompt"])
                    for i in range(len(place))
                    for j in range(i + 1, len(place))
                ]
        return pd.DataFrame(rows, columns=["left", "right", "winner", "judge", "prompt"])

    def rows(self, kind: str = "paired") -> "pa.Table":
        """Training rows: "paired" (prompt, chosen, rejected; the majority of a pair's judges, ties left out), "ranked" (prompt, replies
        with the best first), "unpaired" (prompt, completion, label), or "scored" (pairs of one judge's scores, with
        better_NAME). Raises `DataError` for another kind, and where no judgement gives any."""
        import pyarrow as pa

        if kind not in preference_rows.MAKERS:
            raise DataError(f"There are no {kind!r} rows.", 'Use "paired", "ranked", "unpaired" or "scored".')
        table = self.judgements()
        rows = preference_rows.MAKERS[kind](table[~table["again"].astype(bool)])
        if not rows:
            raise DataError(f"No judgement gives {kind} rows yet.", "Judge some first; ties give none.")
        return pa.Table.from_pylist(rows)

    def save_rows(self, path: str | os.PathLike, kind: str = "paired") -> "pa.Table":
        """Write `rows(kind)` as JSON lines, which `wb.Recipe(data=path)` takes. Raises `DataError` where they cannot be written; nothing is
        half written then."""
        table, to = self.rows(kind), Path(path).expanduser()
        try:
            to.parent.mkdir(parents=True, exist_ok=True)
            part = to.with_name(f".{to.name}.{uuid.uuid4().hex}")
            try:
                part.write_text(
                    "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in table.to_pylist()),
                    encoding="utf-8",
                    errors="surrogatepass",
                )
                part.replace(to)
            finally:
                part.unlink(missing_ok=True)
        except OSError as error:
            raise DataError(
                f"The rows cannot be written to {to}: {error.strerror}.", "Give a file in a folder that you may write."
            ) from error
        return table

    # ---- the database

    def _look(self, *asked: Any) -> list[list[Any]]:
        """The rows of each query (or function of a connection), in this order: replies come last, so that those of every judgement are
        among them."""
        look = lambda there, query: query(there) if callable(query) else there.execute(query).all()  # noqa: E731
        return self._database.do(lambda there: [look(there, query) for query in asked], writes=False)

    def _replies_with_prompts(self, there: "sqlalchemy.Connection") -> list[Any]:
        """Every reply with its prompt. They never change, so they are read again only where there are more of them."""
        import sqlalchemy as sql

        prompts, told = self._tables["prompts"], self._tables["replies"]
        many = there.execute(sql.select(sql.func.count(), sql.func.max(told.c.id))).one()
        if many != self._kept_replies[0]:
            query = sql.select(told.c.id, told.c.prompt_id, told.c.source, told.c.text.label("reply"), prompts.c.text).join(
                prompts, prompts.c.id == told.c.prompt_id
            )
            self._kept_replies = many, list(there.execute(query.order_by(told.c.id)).all())
        return self._kept_replies[1]

    def _judgements(self, kind: str | None) -> Any:
        """What counts: not what was withdrawn."""
        import sqlalchemy as sql

        table = self._tables["judgements"]
        return sql.select(table).where(table.c.withdrawn.is_(None), *([table.c.kind == kind] if kind else [])).order_by(table.c.id)

    def _item(self, kept: list[Any], prompt: int, ids: Sequence[int], again: bool) -> Item:
        known = {row.id: row for row in kept}
        return Item(known[ids[0]].text, tuple(known[number].reply for number in ids), prompt, tuple(ids), again)


def _somebody(judge: Any) -> None:
    if not isinstance(judge, str) or not judge.strip():
        raise DataError("A judgement needs somebody who gives it.", 'Give a name: judge="ann".')
    _writable("The judge's name", judge, LONGEST_NAME)


def _writable(what: str, value: Any, longest: int | None = None) -> None:
    if not isinstance(value, str):
        raise DataError(f"{what} is {value!r}, no text.", "Give a str.")
    if "\0" in value or value.encode("utf-8", "replace").decode() != value:
        raise DataError(f"{what} holds characters that no database keeps (NUL, or half of a pair).", "Leave them out.")
    if longest and len(value) > longest:
        raise DataError(f"{what} {value[:40]!r}... has {len(value):,} characters.", f"Use at most {longest}.")


def _shown(item: Any) -> None:
    if not isinstance(item, Item):
        raise DataError("There is nothing to judge." if item is None else f"{item!r} is nothing that was asked for.",
                        "Judge what store.next(judge) gives; None means that nothing is left for this judge.")


def _one(item: Item) -> None:
    _shown(item)
    if len(item.reply_ids) != 1:
        raise DataError(f"{len(item.reply_ids)} replies are shown, and this judges one.", 'Ask for one: store.next(judge, "thumbs").')


def _number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def _plain(value: Any) -> int | float:
    """A number as JSON has it, numpy's too."""
    return value if isinstance(value, (int, float)) else float(value)
