"""The numbers of the arena: what there is to judge and who judged how much, and what came of it.

`count` is cheap and asked for every second; `read` makes the results: ratings, Elo, agreement, position bias, each by its call in
`workbench.alignment`. Draws and says nothing.
"""

import math
from dataclasses import dataclass, field
from typing import Any

from workbench.alignment import PreferenceStore, agreement, bradley_terry, cohen, elo, lead, people
from workbench.errors import DataError

SURE = 0.01
"""How improbable a share must be, were it a matter of chance, to be called a bias; shared out over the people looked at."""
FEWEST_VOTES = 20
"""Decided votes before a person's share of first replies says anything."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What there is, and who gave how much."""

    prompts: int = 0
    replies: int = 0
    sources: int = 0
    texts: tuple[int, ...] = ()
    """Of each prompt, how many different replies it has."""
    given: dict[tuple[str, str], int] = field(default_factory=dict)
    """How many judgements of (judge, kind)."""

    @property
    def by_judge(self) -> dict[str, int]:
        """Judgements of any kind, who gave most first."""
        out: dict[str, int] = {}
        for (judge, _), many in self.given.items():
            out[judge] = out.get(judge, 0) + many
        return dict(sorted(out.items(), key=lambda one: (-one[1], one[0])))

    @property
    def judgements(self) -> int:
        return sum(self.given.values())

    def possible(self, kind: str, replies: int) -> int:
        """How many different ones of a kind could be judged."""
        at_once = {"pair": 2, "ranking": replies}.get(kind, 1)
        return sum(math.comb(texts, at_once) for texts in self.texts)


@dataclass(frozen=True, slots=True)
class Rated:
    """A model: Bradley-Terry's rating and its 95 % interval, Elo, and the votes it was in."""

    model: str
    rating: float | None
    low: float | None
    high: float | None
    elo: float
    votes: int


@dataclass(frozen=True, slots=True)
class Person:
    """Who judged pairs: see `workbench.alignment.people`."""

    judge: str
    votes: int
    first: int
    second: int
    tie: int
    again: int
    same: int

    @property
    def decided(self) -> int:
        return self.first + self.second

    def interval(self) -> tuple[float, float]:
        """95 % of the share of decided votes that the reply shown first won (Wilson 1927)."""
        from scipy.stats import binomtest

        found = binomtest(self.first, self.decided).proportion_ci(method="wilson")
        return float(found.low), float(found.high)


@dataclass(frozen=True, slots=True)
class Results:
    """What came of the judgements. Shares are parts of one, agreement as `workbench.alignment.agreement` has it."""

    votes: int = 0
    models: tuple[Rated, ...] = ()
    fault: str = ""
    """Why there are no ratings."""
    lead: dict[str, Any] | None = None
    people: tuple[Person, ...] = ()
    kappas: dict[tuple[str, str], float] = field(default_factory=dict)
    agreement: dict[str, float] = field(default_factory=dict)

    @property
    def first(self) -> int:
        return sum(person.first for person in self.people)

    @property
    def decided(self) -> int:
        return sum(person.decided for person in self.people)

    @property
    def again(self) -> int:
        return sum(person.again for person in self.people)

    def partial(self) -> "tuple[str, int, int] | None":
        """(who, how often the first one, of how many decided) of the clearest position bias: a person's ("" for everybody together); None
        where chance would do it."""
        from scipy.stats import binomtest

        asked = [(person.judge, person.first, person.decided) for person in self.people if person.decided >= FEWEST_VOTES]
        if len(asked) > 1:
            asked.append(("", self.first, self.decided))
        found = [(float(binomtest(first, decided).pvalue), who, first, decided) for who, first, decided in asked]
        sure = [one for one in found if one[0] < SURE / len(found)]
        return min(sure)[1:] if sure else None


def count(store: PreferenceStore) -> Counts:
    """Asks the database for counts alone; replies are read again only where there are more of them."""
    kept = store.replies()
    texts = kept.groupby("prompt", sort=False)["reply"].nunique()
    given = {(row.judge, row.kind): int(row.judgements) for row in store.counts().itertuples()}
    return Counts(int(kept["prompt"].nunique()), len(kept), int(kept["source"].nunique()), tuple(int(many) for many in texts), given)


def read(store: PreferenceStore) -> Results:
    """Everything anew."""
    votes = store.votes()
    if votes.empty:
        return Results()
    judged = store.judgements("pair")
    in_order = elo(votes).set_index("model")["rating"]
    met = votes["left"].value_counts().add(votes["right"].value_counts(), fill_value=0)
    fitted, first, fault = {}, None, ""
    try:
        fitted = {row["model"]: row for row in bradley_terry(votes).to_dict("records")}
        first = lead(votes)
    except DataError as error:
        fault = str(error)
    models = [
        Rated(
            name,
            *((fitted[name][key] for key in ("rating", "low", "high")) if fitted else (None, None, None)),
            float(in_order[name]),
            int(met[name]),
        )
        for name in (fitted or in_order.index)
    ]
    kappas = {(one, other): float(kappa) for one, row in cohen(judged).iterrows() for other, kappa in row.items() if kappa == kappa}
    return Results(
        len(votes),
        tuple(models),
        fault,
        first,
        tuple(
            Person(**{name: value if name == "judge" else int(value) for name, value in row.items()})
            for row in people(judged).to_dict("records")
        ),
        kappas,
        agreement(judged),
    )
