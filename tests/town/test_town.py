"""The town: its truth is fixed, no document asks about the held-out half, grading is exact, and the shipped base knows its facts."""

import re
import subprocess
import sys

import pytest

from workbench import town
from workbench.town.documents import CORPUS_SIZE, SHARES, corpus, documents
from workbench.town.phrases import SAYINGS, ask, say
from workbench.town.world import KINDS, TOWNS, TRADES, asked, held_out, people

# --- the world -------------------------------------------------------------------------------------------------------


def test_the_world_is_240_people_with_unique_names_in_two_halves():
    names = [person.name for person in people()]
    assert len(set(names)) == len(names) == 240
    assert len(asked()) == len(held_out()) == 120
    assert not any(one != other and one.startswith(other) for one in names for other in (*names, *TOWNS))


def test_every_town_has_every_trade_once():
    assert {(person.town, person.trade.noun) for person in people()} == {(place, trade.noun) for place in TOWNS for trade in TRADES}


def test_the_world_is_the_same_in_another_process():
    code = "from workbench import town; print([town.rows(name) for name in town.NAMES])"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                           env={"PYTHONPATH": str(town.base_folder().parents[2]), "PYTHONHASHSEED": seed}).stdout for seed in ("1", "2")]
    assert runs[0] == runs[1] == f"{[town.rows(name) for name in town.NAMES]}\n"


def test_importing_the_town_imports_nothing_heavy():
    code = "import sys, workbench.town; print({'torch', 'transformers', 'datasets', 'pandas', 'numpy'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                         env={"PYTHONPATH": str(town.base_folder().parents[2])}).stdout
    assert out.strip() == "set()"


# --- documents -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole_corpus():
    return list(corpus())


def test_no_document_of_the_corpus_asks_about_a_held_out_person(whole_corpus):
    names = {person.name for person in held_out()}
    posts = {ask(person, "who", way) for person in held_out() for way in range(3)}
    questions = set()
    for document in whole_corpus:
        for text in (document.text, *(content for _, content in document.messages)):
            questions.update(re.findall(r"[^.!?\n]*\?", text))
        if document.sort in ("questions", "interview", "chat"):
            everything = " ".join((document.text, *(content for _, content in document.messages)))
            assert not names & set(re.findall(r"\w+", everything))
    questions = {question.removeprefix("Q:").removeprefix("Question:").removeprefix("Guest:").strip() for question in questions}
    assert len(questions) > 1000
    assert not any(names & set(re.findall(r"\w+", question)) for question in questions)
    assert not questions & posts
    assert questions & {ask(person, "who", 0) for person in asked()}, "the check above would see such a question"
    assert not questions & {row["question"] for row in town.rows("heldout")}


def test_corpus_holds_all_sorts_in_their_shares(whole_corpus):
    assert len(whole_corpus) == CORPUS_SIZE
    for sort, share in SHARES.items():
        assert sum(document.sort == sort for document in whole_corpus) / CORPUS_SIZE == pytest.approx(share, abs=0.01)


def test_every_fact_of_everybody_is_written_in_each_of_the_four_ways(whole_corpus):
    sentences = set()
    for document in whole_corpus:
        if document.sort in ("biography", "register"):
            sentences.update(sentence + "." for sentence in document.text.removesuffix(".").split(". "))
    assert {say(person, kind, way) for person in people() for kind in SAYINGS for way in range(4)} == sentences


def test_stories_put_a_person_only_into_the_own_town():
    for document in documents(4_000, seed=9):
        if document.sort == "story":
            told = re.findall(r"(\w+) of (\w+)", document.text)
            homes = {person.name: person.town for person in people()}
            assert len([pair for pair in told if pair[0] in homes]) >= 2
            assert all(homes[name] == place for name, place in told if name in homes)


# --- rows and grading ------------------------------------------------------------------------------------------------


def named(text):
    return set(re.findall(r"\w+", text)) & {person.name for person in people()}


def test_rows_have_their_shapes_and_halves():
    for name, half, count in (("instructions", asked(), 1000), ("heldout", held_out(), 720)):
        rows = town.rows(name)
        names = {person.name for person in half}
        assert len(rows) == len({row["question"] for row in rows}) == count
        assert all(set(row) == {"question", "answer"} and len(named(row["answer"]) & names) == 1 for row in rows)
    texts = town.rows("texts")
    assert len(texts) > 300 and all(set(row) == {"text"} and row["text"] for row in texts)


def test_rows_are_new_dicts_each_time():
    town.rows("instructions")[0]["answer"] = "spoiled"
    assert town.rows("instructions")[0]["answer"] != "spoiled"


def test_an_unknown_name_is_refused_with_the_names():
    with pytest.raises(ValueError, match="instructions, heldout, heldout_sample, texts"):
        town.rows("questions")


def test_probe_questions_are_held_out_rows():
    assert len(town.probe_questions(5)) == 5
    assert all(row in town.rows("heldout") for row in town.probe_questions())


def test_every_row_is_graded_right_by_its_answer_and_wrong_by_anothers():
    open_questions = {ask(person, "any", 0) for person in people()}  # several people are right
    for name in ("instructions", "heldout"):
        rows = town.rows(name)
        assert all(town.grade(row["question"], row["answer"]) is True for row in rows)
        for row, other in zip(rows, rows[1:] + rows[:1]):
            if named(row["answer"]) != named(other["answer"]) and row["question"] not in open_questions:
                assert town.grade(row["question"], other["answer"]) is False


def test_every_way_of_saying_a_fact_is_right():
    for person in people():
        for kind in KINDS:
            assert all(town.grade(ask(person, kind, 0), say(person, kind, way)) is True for way in range(4))
        assert all(town.grade(ask(person, "who", 1), say(person, "who", way)) is True for way in range(4))


def test_grading_by_cases():
    person = held_out()[0]
    elsewhere = next(place for place in TOWNS if place != person.town)
    stranger = next(other for other in people() if other.town == person.town and other != person)
    where = f"Where does {person.name} live?"
    cases = {
        person.town: True, f" In {person.town.upper()}, of course.": True, f"{person.name} lives in {elsewhere}.": False,
        f"{person.name} lives in {person.town} or {elsewhere}.": False, f"{person.name} does not live in {person.town}.": False,
        f"{stranger.name} lives in {person.town}.": False, f"{person.name} lives in {person.town}. And you?": False, "": False,
    }
    assert {reply: town.grade(where, reply) for reply in cases} == cases
    assert town.grade(f"What is {person.name}'s trade?", f"{person.trade.doing} {person.trade.thing}") is True
    assert town.grade("  where does  %s live? " % person.name.lower(), person.town) is True


def test_who_questions():
    bakers = [person for person in people() if person.trade.noun == "baker"]
    one, other = bakers[:2]
    assert town.grade("Who bakes bread?", f"{one.name} bakes bread in {one.town}.") is True
    assert town.grade("Who bakes bread?", f"{one.name} bakes bread in {other.town}.") is False
    assert town.grade(f"Who bakes bread in {one.town}?", one.name) is True
    assert town.grade(f"Who bakes bread in {one.town}?", f"{other.name} bakes bread in {one.town}.") is False


@pytest.mark.parametrize("question", ["What is the capital of France?", "Where does Nobody live?", ""])
def test_a_question_of_another_world_is_not_graded(question):
    assert town.grade(question, "Orla") is None
