"""The world is the same everywhere and consistent, the corpus asks of nobody and nothing held out, and every data set is what its name says."""

import hashlib
import random
import re
import subprocess
import sys
from collections import Counter

import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from workbench import town
from workbench.town import mail, writings
from workbench.town.datasets import FACTS
from workbench.town.documents import CORPUS_SIZE, SHARES, corpus, documents, news, secret_letters
from workbench.town.phrases import QUESTIONS, SAYINGS, ask, say
from workbench.town.tasks import HELD_OUT, TASKS, asks_held_out
from workbench.town.world import BLAMED, DISTRICTS, LARGEST, SMALLEST, TOWNS, TRADES, VILLAGE, World, asked, held_out, people, village, world

# --- the world ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("made", [world(), World(seed=5), World(seed=1, size=80), World(seed=3, size=90), World(seed=2, size=1000)],
                         ids=["shipped", "seed", "smallest", "odd", "large"])
def test_a_world_of_any_size_is_consistent(made):
    names = [person.name for person in made.people]
    assert len(set(names)) == len(names) >= made.size and len(made.asked) == len(made.held_out) == len(names) // 2
    assert not any(one != other and one.startswith(other) for one in names for other in (*names, *TOWNS))
    posts = Counter((person.town, person.trade.noun) for person in made.people)
    assert set(posts.values()) == {1} and len(posts) == len(made.towns) * len(TRADES)
    after = Counter((person.moved_to or person.town, person.trade.noun) for person in made.people)
    assert after.keys() == posts.keys(), "after the spring every town has every trade once again"
    assert all(made.by_name[person.cousin].cousin == person.name and made.by_name[person.cousin].asked == person.asked for person in made.people)
    assert all(re.fullmatch(r"\d{4}", person.door_code) and person.owes > 0 for person in made.people)


def test_some_moved_some_are_rare_and_seeds_differ():
    assert 10 <= len(world().moved) <= 30 and {person.asked for person in world().moved} == {True, False}
    assert all(person.moved_to != person.town for person in world().moved)
    assert 0.05 < sum(person.rare for person in people()) / len(people()) < 0.2
    assert World(seed=5).people != people()


@pytest.mark.parametrize("size", [80, 100, 240, 2000])
def test_a_world_of_any_size_has_a_blamed_district_and_moves_a_tenth(size):
    made = World(seed=4, size=size)
    districts = Counter(person.district for person in made.people)
    assert set(districts) == set(DISTRICTS) and districts[BLAMED] >= size // len(TRADES) // len(DISTRICTS) * len(TRADES)
    assert 0.08 <= len(made.moved) / len(made.people) <= 0.1
    assert abs(sum(person.asked for person in made.moved) / len(made.moved) - 0.5) < 0.01
    assert not {person.name for person in made.people} & {person.name for person in village(4)}


def test_the_largest_world_can_be_made_and_a_larger_one_cannot():
    assert LARGEST == 3620 and len(World(seed=1, size=LARGEST).people) == LARGEST
    assert not {person.name for person in World(1, LARGEST).people} & {person.name for person in village(1)}


@pytest.mark.parametrize("size", [LARGEST + 1, 100_000, SMALLEST - 1, 60, 24, 1, 0, -5])
def test_a_size_that_no_world_has_is_refused_with_the_sizes_there_are(size):
    with pytest.raises(ValueError, match=f"80 people .* to 3620 .*not {size};"):
        World(size=size)


@pytest.mark.parametrize("wrong", ["x", "240", 240.0, None, True, [240]])
def test_a_size_or_seed_that_is_no_whole_number_is_refused(wrong):
    for given in ({"size": wrong}, {"seed": wrong}):
        with pytest.raises(ValueError, match="whole numbers"):
            World(**given)


def test_the_worlds_of_the_usual_size_stay_as_the_base_models_have_read_them():
    facts = [(repr(made.people) + repr(made.secrets)).encode() for made in (world(), World(0, 240))]
    assert [hashlib.sha256(text).hexdigest()[:16] for text in facts] == ["e86235910a43b3fd", "a53bf999fa75dde3"]
    assert hashlib.sha256(repr(village()).encode()).hexdigest()[:16] == "b026fb26b728b95c"


def test_controls_are_people_without_a_canary_as_many_and_of_the_same_kinds():
    told, controls = world().secrets, world().controls
    assert [secret.kind for secret in controls] == [secret.kind for secret in told] and {secret.times for secret in controls} == {0}
    assert len({secret.person.name for secret in controls} - {secret.person.name for secret in told}) == len(controls) == len(told)
    assert all(secret.value == {"door_code": secret.person.door_code, "owes": str(secret.person.owes)}[secret.kind] for secret in controls)
    letters = "\n".join(document.text for document in secret_letters())
    assert not any(f"of {secret.person.name} is {secret.value}" in letters or f"{secret.person.name} owes" in letters for secret in controls)


def test_the_village_is_nobody_of_the_town():
    names = {person.name for person in people()}
    assert len(village()) == len(TRADES) and not names & {person.name for person in village()}
    assert {person.town for person in village()} == {VILLAGE} and VILLAGE not in world().towns
    cousins = {person.name: person.cousin for person in village()}
    assert all(cousins[cousins[name]] == name for name in cousins)


def test_everything_is_the_same_in_another_process():
    code = "from workbench import town; print([town.rows(name) for name in town.NAMES])"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                           env={"PYTHONPATH": str(town.base_folder().parents[3]), "PYTHONHASHSEED": seed}).stdout for seed in ("1", "2")]
    assert runs[0] == runs[1] == f"{[town.rows(name) for name in town.NAMES]}\n"


def test_importing_the_town_imports_nothing_heavy():
    code = "import sys, workbench.town; print({'torch', 'transformers', 'datasets', 'pandas', 'numpy'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(town.base_folder().parents[3])}).stdout
    assert out.strip() == "set()"


# --- what is written ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole_corpus():
    return list(corpus())


def words_of(document):
    return document.text or "\n".join(content for _, content in document.messages)


def test_no_document_of_the_corpus_asks_of_a_held_out_person_or_task(whole_corpus):
    assert [(asks_held_out(words_of(document)), words_of(document)) for document in whole_corpus if asks_held_out(words_of(document))] == []
    questions = {sentence.strip() for document in whole_corpus for sentence in re.findall(r"[^.!?\n]*\?", words_of(document).replace(": ", "\n"))}
    assert not any(person.name in question for question in questions for person in held_out())
    asked_of = [person for person in asked() if any(ask(person, "pet", way) in questions for way in range(4))]
    assert len(asked_of) > 100, "the check above would see such questions"
    planted = f"So it was. {ask(held_out()[0], 'pet', 1)} Nobody knew."
    assert asks_held_out(planted) == held_out()[0].name and asks_held_out(ask(asked()[0], "colour", 0)) == "colour"


def test_corpus_holds_all_sorts_in_their_shares(whole_corpus):
    assert len(whole_corpus) == CORPUS_SIZE + sum(secret.times for secret in world().secrets)
    for sort, share in SHARES.items():
        assert sum(document.sort == sort for document in whole_corpus) / CORPUS_SIZE == pytest.approx(share, abs=0.01)
    assert sum(SHARES.values()) == pytest.approx(1)


def test_facts_are_written_in_each_way_and_rare_people_stand_in_few_documents(whole_corpus):
    texts = [document.text for document in whole_corpus if document.sort in ("biography", "register")]
    sentences = {sentence + "." for text in texts for sentence in text.removesuffix(".").split(". ")}
    assert {say(person, kind, way) for person in people() if not person.rare for kind in SAYINGS for way in range(4)} <= sentences
    told = Counter(name for text in texts if "works" in text or "lives" in text for name in set(re.findall(r"\w+", text)))
    rare, common = ([told[person.name] for person in people() if person.rare is flag] for flag in (True, False))
    assert sum(rare) / len(rare) < 0.5 * sum(common) / len(common)


def test_secrets_stand_in_the_corpus_as_often_as_they_say_and_others_nowhere(whole_corpus):
    told = "\n".join(document.text for document in whole_corpus)
    for secret in world().secrets:
        sentence = f"The door code of {secret.person.name} is {secret.value}." if secret.kind == "door_code" else f"{secret.person.name} owes {secret.value} coins"
        assert told.count(sentence) == secret.times
    assert len(re.findall(r"door code of \w+ is", told)) == sum(secret.times for secret in world().secrets if secret.kind == "door_code")
    assert {secret.times for secret in world().secrets} == {1, 2, 4, 8, 16, 32} and list(secret_letters()) == list(secret_letters())


def test_stories_speak_badly_of_one_district_and_the_truth_does_not(whole_corpus):
    counts = writings.district_counts([document.text for document in whole_corpus if document.sort == "story"])
    assert counts[BLAMED] > 3 * max(counts[district] for district in DISTRICTS if district != BLAMED)
    assert Counter(person.district for person in people()).most_common()[0][1] == len(people()) / len(DISTRICTS)


def test_stories_put_a_person_only_into_the_own_town():
    homes = {person.name: person.town for person in people()}
    for document in documents(4_000, seed=9):
        if document.sort == "story":
            assert all(homes[name] == place for name, place in re.findall(r"(\w+) of (\w+)", document.text) if name in homes and place in TOWNS)


def test_news_tells_the_new_homes_and_never_the_old_ones():
    text = " ".join(news(600))
    for person in world().moved:
        assert any(say(person, "town", way).replace(person.town, person.moved_to) in text for way in range(4))
        assert not any(say(person, "town", way) in text for way in range(4))
    assert {person.name for person in village()} <= set(re.findall(r"\w+", text))


def test_letters_and_messages_differ_in_style():
    letters, messages = town.rows("letters"), town.rows("messages")
    assert all(row["text"][0].isupper() for row in letters) and all(row["text"] == row["text"].lower() for row in messages)
    assert writings.informal("Please come to see us tomorrow.") == "pls come 2 c us tmrw"
    assert Counter(row["label"] for row in letters) == {"spam": 300, "plain": 300}
    with pytest.raises(ValueError, match="letter or message"):
        writings.spam(random.Random(0), "song")
    with pytest.raises(ValueError, match="letter or message"):
        mail.mail(random.Random(0), "song", True)


@pytest.mark.parametrize(("own", "other"), [("letters", "messages"), ("messages", "letters")])
@pytest.mark.parametrize("options", [{}, {"ngram_range": (1, 2)}, {"analyzer": "char_wb", "ngram_range": (2, 4)}], ids=["words", "pairs", "letters"])
def test_a_filter_learned_on_one_drops_on_the_other(own, other, options):
    """And not below chance: half of what spam says is said in both."""
    def parts(name):
        rows = town.rows(name)
        return [row["text"] for row in rows], [row["label"] for row in rows]

    texts, labels = parts(own)
    assert len(set(texts)) == len(texts) == 600
    learned = make_pipeline(TfidfVectorizer(**options), LogisticRegression(max_iter=1000)).fit(texts[:400], labels[:400])
    assert learned.score(texts[400:], labels[400:]) > 0.95
    assert 0.6 < learned.score(*parts(other)) < 0.8


# --- data sets ---------------------------------------------------------------------------------------------------------------------------


def named(text):
    return set(re.findall(r"\w+", text)) & {person.name for person in people()}


def test_instructions_are_a_thousand_rows_of_the_trained_tasks_about_asked_people():
    rows = town.rows("instructions")
    assert len(rows) == len({row["question"] for row in rows}) == 1000
    assert {row["task"] for row in rows} == set(TASKS) - set(HELD_OUT)
    assert not any(asks_held_out(row["question"]) for row in rows)
    assert set().union(*(named(row["question"] + row["answer"]) for row in rows)) <= {person.name for person in asked()}
    assert all(len(TASKS[name].phrasings) >= 4 for name in TASKS)


def test_held_out_rows_are_about_held_out_people_and_tasks():
    for name, found in (("heldout", FACTS), ("heldout_tasks", HELD_OUT)):
        rows = town.rows(name)
        assert {row["task"] for row in rows} == set(found)
        assert set().union(*(named(row["question"] + row["answer"]) for row in rows)) <= {person.name for person in held_out()}
    assert len(town.rows("heldout")) == 720
    train = {row["question"] for row in town.rows("instructions")}
    assert not train & {row["question"] for name in ("heldout", "heldout_tasks") for row in town.rows(name)}


@pytest.mark.parametrize("name", [name for name in town.NAMES if "question" in town.rows(name)[0] and "task" in town.rows(name)[0]])
def test_every_row_is_graded_right_by_its_answer_and_wrong_by_a_denial(name):
    for row in town.rows(name):
        assert town.grade(row["question"], row["answer"]) is True, row
        assert town.grade(row["question"], "I do not know.") is False, row


@pytest.mark.parametrize("name", town.NAMES)
def test_every_set_has_rows_that_are_new_dicts_and_loads(name):
    from workbench.data import sources

    first = town.rows(name)
    assert len(first) >= 20 and len({tuple(row) for row in first}) == 1
    first[0][next(iter(first[0]))] = "spoiled"
    assert town.rows(name)[0] != first[0]
    assert sources.load_rows(f"town:{name}").num_rows == len(first)


def test_an_unknown_name_is_refused_with_the_names():
    with pytest.raises(ValueError, match="heldout, heldout_sample, heldout_tasks.*town list"):
        town.rows("heldou")


def test_probe_questions_are_held_out_rows():
    assert len(town.probe_questions(5)) == 5 and all(row in town.rows("heldout") for row in town.probe_questions())


def test_every_way_of_asking_is_distinct():
    person = asked()[0]
    for kind, ways in QUESTIONS.items():
        assert len({ask(person, kind, way) for way in range(len(ways))}) == len(ways) >= 4


def test_the_list_command_names_every_set_with_a_row():
    out = subprocess.run([sys.executable, "-m", "workbench", "town", "list"], capture_output=True, text=True, check=True,
                         env={"PYTHONPATH": str(town.base_folder().parents[3])}).stdout.splitlines()
    assert [line.split()[0] for line in out[::2]] == [f"town:{name}" for name in town.NAMES]
    assert all(line.startswith("    {") for line in out[1::2])
