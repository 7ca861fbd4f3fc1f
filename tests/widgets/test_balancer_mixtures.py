"""Mixtures that the dataset balancer takes over keep their rates, and sources that it cannot read stop it until they are left out."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path

import datasets
import pytest

from tests.widgets.test_dataset_balancer import made, profile, questions, texts, words
from widgets import DatasetBalancer
from widgets.dataset_balancer.state import State
from workbench.data.mixture import Mixture
from workbench.errors import DataError


def random_mixture(chance: random.Random) -> Mixture:
    """Some settings of a mixture of two kinds of rows, most of which go together."""
    names = ["chat", "letters", "books", "poems"]
    sources = {"chat": questions(chance.randint(1, 90)), "letters": questions(chance.randint(1, 40)), "books": texts(chance.randint(1, 60)),
               "poems": texts(chance.randint(1, 9))}
    more: dict = {}
    rule = chance.choice(["proportional", "equal", "weights"])
    if rule == "weights":
        more["weights"] = {name: chance.choice([1, 0.1, 2.5, Fraction(1, 3)]) for name in names}
    elif rule == "proportional" and chance.random() < 0.5:
        more["cap"] = chance.choice([2.5, 7, 30.0, Fraction(40, 3)])
    if chance.random() < 0.6:
        more["multipliers"] = {name: chance.choice([0.5, 3, 1, 0.1]) for name in chance.sample(names, 2)}
    if chance.random() < 0.5:
        more["temperature"] = chance.choice([0.5, 2.0, 7])
    if chance.random() < 0.6:
        more["pretraining_share"] = chance.choice([0.0, 0.1, 0.45])
    if chance.random() < 0.6:
        more["pretraining"] = tuple(chance.sample(names, chance.randint(1, 3)))
    return Mixture(sources, rule=rule, **more)


@pytest.mark.parametrize("seed", range(60))
def test_any_mixture_is_taken_over_at_its_own_rates(seed: int) -> None:
    mixture = random_mixture(random.Random(seed))
    panel = DatasetBalancer(mixture, model=words)
    assert panel.mixture.rates == pytest.approx(mixture.rates, abs=1e-9)
    panel.measuring.found = {name: profile([9], mixture.rows_of(name), layout="plain text" if name in ("books", "poems") else "")
                             for name in mixture.sources}
    assert panel.mixture.rates == pytest.approx(mixture.rates, abs=1e-9), "what measuring shows of rows changes no share"
    again = DatasetBalancer.from_json(panel.state_json(), sources=mixture.sources, model=words)
    assert again.mixture.rates == pytest.approx(mixture.rates, abs=1e-9)


def test_a_share_of_no_plain_text_draws_none_of_it() -> None:
    for rule in ("proportional", "weights"):
        panel = made(state=State(rule=rule, plain_share=0.0, by="examples", budget=100.0, weights={"books": 3.0}))
        assert panel.mixture.rates["books"] == 0 < panel.mixture.rates["math"]
        names = {"sources": panel.base.sources}
        exec(panel.code(), names)
        assert names["mixture"].rates == panel.mixture.rates


def test_a_source_that_cannot_be_read_stops_the_mixture_until_it_is_left_out_on_purpose(tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"question": "Who?", "answer": "Mira"}\n{"question": oh\n')
    panel = DatasetBalancer({"good": questions(50), "cake": questions(30, "cake"), "bad": str(bad)}, model=words)
    with pytest.raises(DataError, match="line 2"):
        panel.measure()
    said = panel.summary()
    assert said.kind == "warn" and said.text.startswith("bad cannot be read: bad.jsonl, line 2") and "leave it out" in said.text
    for ask in (lambda: panel.mixture, lambda: panel.rows, panel.choose):
        with pytest.raises(DataError, match="'bad' cannot be read, and nobody has left it out"):
            ask()
    code = panel.code()
    assert "# 'bad' cannot be read, so no rows are drawn: bad.jsonl, line 2" in code and ".draw(" not in code
    names: dict = {"sources": panel.base.sources}
    exec(code, names)
    with pytest.raises(DataError, match="line 2"):
        names["mixture"].rates  # noqa: B018 - reading it raises
    panel.leave_out("bad")
    assert panel.summary().kind == "ok" and set(panel.mixture.rates) == {"good", "cake"} and len(panel.choose()) == 80
    assert "bad" not in panel.code()


def test_a_stream_counts_by_what_is_known_of_it_and_is_not_left_out_silently() -> None:
    stream = datasets.IterableDataset.from_generator(lambda: iter(questions(20, "pie")))
    panel = DatasetBalancer({"good": questions(50), "web": stream}, model=words)
    with pytest.raises(DataError, match=r"'web' cannot be measured: It is a stream of unknown length.*counts=\{'web': rows\}"):
        panel.measure()
    assert panel.summary().text.startswith("web cannot be read: It is a stream of unknown length")
    with pytest.raises(DataError, match="nobody has left it out"):
        panel.mixture
    known = DatasetBalancer(Mixture({"good": questions(50), "web": stream}, counts={"web": 20}), model=words).measure()
    assert known.mixture.rates == pytest.approx({"good": 5 / 7, "web": 2 / 7}) and "Lengths are not measured" in known.summary().text
    assert sum("pie" in row["question"] for row in known.choose()) == 20
