"""The tasks: questions are read back, rows keep to their people, held-out tasks and people are seen, and replies are graded by hand."""

import random

import pytest

from workbench.town import datasets, documents, language, writings
from workbench.town.fact_tasks import NEW_SECOND_FACTS, SECOND_FACTS
from workbench.town.replies import items, mentions, numbers, thing
from workbench.town.tasks import HELD_OUT, TASKS, TRAINED, asks_held_out, find, grade, task_rows
from workbench.town.text_tasks import TEXT_TASKS
from workbench.town.world import COLOURS, MONTHS, PETS, TRADES, WEATHER, World, asked, held_out, people, village, world

FEW = {"any": 60, "price": 30, "event": 80, "add": 150, "subtract": 100}
"""Tasks that have fewer than 200 questions for half of the people, and how many to ask for."""


def rows_of(name, folk, seed=0):
    return task_rows(name, FEW.get(name, 200), seed, folk)


def wrong_value(kind, person):
    """A value of that kind that is not the person's."""
    values = {"trade": [trade.noun for trade in TRADES], "town": world().towns, "pet": PETS, "colour": COLOURS}
    return next(value for value in values[kind] if value != person.value(kind))


# --- rows and reading back ------------------------------------------------------------------------------------------------------------


def test_these_are_the_tasks_and_which_are_held_out():
    assert set(TRAINED) == {
        "trade", "town", "pet", "food", "drink", "flower", "game", "cousin", "who", "any", "price", "weather", "event", "two_facts", "extract_name", "extract_good",
        "sentiment", "summarise", "sort", "count", "add", "rewrite", "translate", "spam"}
    assert set(HELD_OUT) == {"colour", "instrument", "two_facts_new", "extract_town", "sort_backwards", "subtract", "translate_back", "extract_then_sort"}
    assert all(len(set(task.phrasings)) >= 4 for task in TASKS.values())


@pytest.mark.parametrize("name", TASKS)
def test_every_question_is_read_back_by_its_task_alone(name):
    for row in rows_of(name, people()):
        of = [other for other, task in TASKS.items() if task.match(row["question"]) is not None]
        assert of == [name]
        task, fields = find(row["question"])
        assert task.ask(fields, row["phrasing"]) == row["question"]
        assert task.solve(fields) == row["answer"]


@pytest.mark.parametrize("name", TASKS)
def test_every_answer_is_right_and_most_others_are_wrong(name):
    rows = rows_of(name, people())
    assert all(grade(row["question"], row["answer"]) is True for row in rows)
    assert all(grade(row["question"], row["question"]) is False for row in rows), "the question given back is no answer"
    assert not any(grade(row["question"], reply) for row in rows for reply in ("", "I do not know.", "It is.", "What do you mean?"))
    others = [(row["question"], other["answer"]) for row, other in zip(rows, rows[1:] + rows[:1]) if row["answer"] != other["answer"]]
    assert sum(grade(*pair) for pair in others) <= 0.15 * len(others)


@pytest.mark.parametrize("name", TASKS)
def test_the_text_of_the_question_is_no_answer(name):
    for row in rows_of(name, people()):
        text = find(row["question"])[1].get("text", "")
        assert grade(row["question"], text) is False


@pytest.mark.parametrize("name", TASKS)
def test_rows_keep_to_their_people_and_are_the_same_again(name):
    rows = rows_of(name, held_out())
    assert rows == rows_of(name, held_out()) and rows != rows_of(name, held_out(), seed=1)
    assert len({row["question"] for row in rows}) == len(rows)
    assert {row["phrasing"] for row in rows} == {0, 1, 2, 3}
    names = {person.name for person in (people() if name == "any" else held_out())}
    for row in rows:
        assert set(row) == {"question", "answer", "task", "phrasing", "people"} and row["task"] == name
        assert "\n" not in row["question"] and len(row["question"].split()) <= 45
        assert set(row["people"]) == {word for word in names if word in row["question"] + row["answer"]}


def test_facts_without_a_person_are_split_as_people_are():
    for name in ("price", "weather", "event"):
        assert not {row["answer"] for row in rows_of(name, asked())} & {row["answer"] for row in rows_of(name, held_out())}


@pytest.mark.parametrize("name", [name for name in TASKS if name != "any"])  # its answers are people, and it has no rows for testing
def test_no_field_of_a_held_out_row_stands_in_an_asked_row(name):
    asked_fields, hidden_fields = ({tuple(find(row["question"])[1].items()) for row in rows_of(name, half)} for half in (asked(), held_out()))
    drawn = {tuple(TASKS[name].draw(random.Random(seed), asked()).items()) for seed in range(600)}
    assert not (asked_fields | drawn) & hidden_fields


@pytest.mark.parametrize("name", TRAINED)
def test_each_half_has_the_questions_that_data_sets_and_the_report_need(name):
    for folk in (asked(), held_out()):
        assert len(task_rows(name, datasets.FEWER.get(name, 60), 2, folk)) >= datasets.PER_TASK[name]
        assert len(task_rows(name, {"any": 20, "price": 10}.get(name, 30), 2, folk, ways=[0])) >= 10


def test_ways_choose_the_phrasings():
    assert {row["phrasing"] for row in task_rows("sort", 50, 0, asked(), ways=[1, 3])} == {1, 3}


@pytest.mark.parametrize(("arguments", "said"), [
    (("cook", 1, 0, asked()), "no task 'cook'"), (("sort", 1, 0, asked()[:4]), "at least 5 people"),
    (("sort", 1, 0, asked(), [4]), "phrasings 0 to 3"), (("sort", 1, 0, asked(), []), "phrasings 0 to 3"),
    (("price", 50, 0, asked()), "about 40"), (("price", -3, 0, asked()), "whole number from 0 on, got -3"), (("price", 2.5, 0, asked()), "got 2.5"),
    (("trade", 5, 0, World(7, 500).people), "not of the shipped town.*town.world()"), (("sort", 5, 0, village()), "not of the shipped town"),
    (("town", 5, 0, [person.after_spring() for person in world().moved]), "not of the shipped town"),
])
def test_rows_that_cannot_be_made_are_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        task_rows(*arguments)


@pytest.mark.parametrize("question", ["What is the capital of France?", "Where does Nobody live?", "", "Who is the king of Orla?",
                                      "What is the price of gold?", "Say this in Velish: The sun shines.", "Count the stars: a, b",
                                      "Is this review good or bad? It rained.", "What was decided? Nothing at all."])
def test_a_question_of_another_world_is_not_graded(question):
    assert find(question) is None and grade(question, "Orla") is None


def test_case_and_spaces_of_a_question_do_not_matter():
    person = asked()[0]
    assert grade(f"  where   does {person.name.lower()} LIVE?\n", person.town) is True


# --- what pretraining must not ask ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HELD_OUT)
def test_a_held_out_task_is_seen_inside_a_text(name):
    for row in rows_of(name, asked()):
        assert asks_held_out(f"It was late. Q: {row['question']}\nA: {row['answer']}") == name


@pytest.mark.parametrize("name", TRAINED)
def test_a_held_out_person_is_seen_inside_a_text_and_an_asked_one_is_free(name):
    for row in rows_of(name, asked()):
        assert asks_held_out(f"Guest: {row['question']}\nHost: {row['answer']}") is None
    hidden = {person.name for person in held_out()}
    for row in rows_of(name, held_out()):
        if hidden & set(row["people"]):
            assert asks_held_out(f"Is it late? Guest: {row['question']}\nHost: {row['answer']}") in row["people"]


@pytest.mark.parametrize(("text", "found"), [
    ("Which colours does the smith like?", "colour"), ("How many apples are left?", "subtract"),
    ("Sort them backwards: a, b!", "sort_backwards"), ("What does koje mean in English?", "translate_back"),
    ("Which town does the letter speak of?", "extract_town"), ("Sort the names in the text.", "extract_then_sort"),
    ("She wore red, her favourite colour.", None), ("In Velish: koje. In English: bread.", None), ("Take honey from the shelf.", None),
])
def test_other_wordings_are_seen_and_statements_are_free(text, found):
    assert asks_held_out(text) == found


def test_a_person_is_asked_about_in_any_wording_and_as_an_answer():
    person = held_out()[0]
    assert asks_held_out(f"Have you seen {person.name} today?") == person.name
    assert asks_held_out(f"Who {person.trade.does} in {person.town}? Nobody knows.") == person.name
    assert asks_held_out(f"Nobody asks about {person.name}, who lives in {person.town}. Do they?") is None


def test_no_document_of_the_corpus_asks_a_held_out_task_or_about_a_held_out_person():
    for document in documents.documents(3_000, seed=7):
        for text in (document.text, *(content for _, content in document.messages)):
            assert asks_held_out(text) is None, text


def test_what_the_people_write_asks_nothing():
    rng = random.Random(0)
    names = [person.name for person in people()]
    for _ in range(300):
        for text in (writings.letter(rng, people()), writings.message(rng, people()), writings.story(rng, people()), writings.spam(rng),
                     writings.review(rng)[0], writings.minutes(rng, people())[0], language.parallel(rng, names),
                     language.passage(rng, names, 3)):
            assert asks_held_out(text) is None


# --- replies to questions of facts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["trade", "town", "pet", "colour"])
def test_one_fact_by_cases(kind):
    person, stranger = held_out()[:2]
    value, other = person.value(kind), wrong_value(kind, person)
    for way in range(4):
        question = TASKS[kind].ask({"name": person.name}, way)
        for reply in (value, f" {value.upper()}. ", f"{person.name}: {value}!", f"I think it is {value}."):
            assert grade(question, reply) is True, reply
        for reply in ("", other, f"{value} or {other}", f"It is not {value}.", f"It isn't {value}.", f"{value}?", person.name,
                      f"{stranger.name}: {value}", "I do not know."):
            assert grade(question, reply) is False, reply


def test_a_food_of_two_words_must_be_whole():
    person = next(person for person in people() if person.food == "apple pie")
    question = f"What is {person.name}'s favourite food?"
    assert grade(question, "Apple pie.") is True
    assert not any(grade(question, reply) for reply in ("apple", "plum cake", "Apple pie and plum cake."))


def test_trades_may_be_named_by_their_work_and_animals_in_the_plural():
    baker = next(person for person in people() if person.trade.noun == "baker")
    assert grade(f"What is {baker.name}'s trade?", "Baking bread.") is True
    assert grade(f"What is {baker.name}'s trade?", "A baker who grinds flour.") is False
    keeper = next(person for person in people() if person.pet == "mouse")
    assert grade(f"What is {keeper.name}'s pet?", "Mice.") is True
    assert grade(f"What is {keeper.name}'s pet?", "A mouse, and geese.") is False


def test_cousins_by_cases():
    person = asked()[0]
    stranger = next(other.name for other in people() if other.name not in (person.name, person.cousin))
    question = f"Who is {person.name}'s cousin?"
    for reply in (person.cousin, f"{person.cousin} is the cousin of {person.name}."):
        assert grade(question, reply) is True
    for reply in (person.name, stranger, f"{person.cousin} and {stranger}", f"Not {person.cousin}.", f"Is it {person.cousin}?"):
        assert grade(question, reply) is False


def test_who_by_cases():
    one, other = [person for person in people() if person.trade.noun == "baker"][:2]
    question = f"Who bakes bread in {one.town}?"
    for reply in (one.name, f"The baker of {one.town} is {one.name}.", f"{one.name.lower()} bakes bread."):
        assert grade(question, reply) is True
    for reply in (other.name, f"{one.name} and {other.name}", f"{one.name} of {other.town}", f"{one.name} keeps a {one.pet}.",
                  f"{one.name} is a smith.", "The baker.", f"{one.name}?", f"{one.name} does not."):
        assert grade(question, reply) is False, reply
    assert grade("Who bakes bread?", f"{other.name} bakes bread in {other.town}.") is True
    assert grade("Who bakes bread?", f"{other.name} bakes bread in {one.town}.") is False
    smith = next(person for person in people() if person.trade.noun == "smith")
    assert grade("Who is a baker?", smith.name) is False


@pytest.mark.parametrize(("task", "fact", "kind"), [("two_facts", *pair) for pair in SECOND_FACTS.items()] + [("two_facts_new", *pair) for pair in NEW_SECOND_FACTS.items()])
def test_two_facts_by_cases(task, fact, kind):
    by_name = world().by_name
    person = next(person for person in people() if person.value(kind) != by_name[person.cousin].value(kind))
    cousin = by_name[person.cousin]
    value, own = cousin.value(kind), person.value(kind)
    stranger = next(other.name for other in people() if other not in (person, cousin))
    for way in range(4):
        question = TASKS[task].ask({"name": person.name, "fact": fact}, way)
        for reply in (value, f"{cousin.name}: {value}.", f"{person.name}'s cousin is {cousin.name}, and it is {value}."):
            assert grade(question, reply) is True, reply
        for reply in (own, f"{person.name}: {value}.", f"{cousin.name}: {value}; {person.name}: {own}.", f"{stranger}: {value}.",
                      cousin.name, f"{value}, no?", f"It is not {value}."):
            assert grade(question, reply) is False, reply


def test_prices_by_cases():
    good = world().goods[0]
    question = f"What is the price of {good.name}?"
    for reply in (f"{good.price}", f"{good.price} coins.", f"{thing(good.name).upper()} costs {good.price} coins"):
        assert grade(question, reply) is True
    for reply in (f"{good.price + 1}", f"{good.price} or {good.price + 1}", "coins", f"Honey costs {good.price} coins.",
                  f"Not {good.price}.", f"-{good.price}", f"{good.price}?"):
        assert grade(question, reply) is False


def test_weather_by_cases():
    (town, month), value = next(iter(world().weather.items()))
    other = next(word for word in WEATHER if word != value)
    question = f"How was the weather in {town} in {month}?"
    for reply in (value, f"It was {value} in {town}.", value.removesuffix("ny").removesuffix("y")):
        assert grade(question, reply) is True
    for reply in (other, f"{value} and {other}", f"It was {value} in {world().towns[-1]}.", f"It was {value} in {MONTHS[-1]}.",
                  f"not {value}", f"{value}?"):
        assert grade(question, reply) is False


def test_events_by_cases():
    event = world().events[0]
    other = next(month for month in MONTHS if month != event.month)
    question = f"When was the {event.name} of {event.town}?"
    for reply in (event.month, f"The {event.name} of {event.town} was in {event.month}.", event.month.lower()):
        assert grade(question, reply) is True
    for reply in (other, f"{event.month} or {other}", f"The flood was in {event.month}.", f"{event.month} in {world().towns[-1]}",
                  f"{event.month}?"):
        assert grade(question, reply) is False


def test_people_of_the_village_are_known_too():
    person = village()[0]
    assert grade(f"Where does {person.name} live?", "In Tarnwick.") is True
    assert grade(f"Who {person.trade.does} in Tarnwick?", person.name) is True
    assert grade(f"Where does {person.name} live?", "In Orla.") is False


# --- replies to questions about a text ------------------------------------------------------------------------------------------------

ONE, TWO, THREE = sorted(person.name for person in asked()[:3])
LINE = f"{ONE} carried a pot to Orla."
LINES = f"{TWO} carried a pot to Orla. In Brenn a guest gave tea to {ONE}."
MEETING = f"{TWO} opened the meeting. It was decided that {ONE} shall mend six boats in June. It was late. {THREE} closed the meeting."
CASES = {
    f"Who is named in this line? {LINE}": (
        [ONE, f"The line names {ONE}.", ONE.upper()],
        [TWO, f"{ONE} and {TWO}", f"{ONE} of Orla", f"{ONE} and a pot", f"Not {ONE}.", f"{ONE}?", ""]),
    f"{LINE} What was the thing?": (
        ["pot", "A pot.", "pots"],
        ["tea", "a pot and tea", f"{ONE}'s pot", "no pot", "pot?", "Orla"]),
    f"Which town is named in this line? {LINE}": (
        ["Orla", "in orla."],
        ["Brenn", "Orla and Brenn", f"{ONE} of Orla", "not Orla", "Orla?"]),
    f"Find the names here and sort them: {LINES}": (
        [f"{ONE}, {TWO}", f"{ONE} and {TWO}.", f"1. {ONE}\n2. {TWO}", f"They are {ONE}, {TWO}."],
        [f"{TWO}, {ONE}", ONE, f"{ONE}, {TWO}, {THREE}", f"{ONE}, {ONE}, {TWO}", f"{ONE}, {TWO}?", "Orla, Brenn"]),
    "Is this review good or bad? The soup at the inn of Orla was awful. I was angry all day.": (
        ["bad", "Bad.", "That is a bad review."],
        ["good", "good or bad", "It is not bad.", "bad?", "awful", ""]),
    "Say good or bad of this review: The tea at the mill of Orla was warm. I was glad all day.": (
        ["GOOD", "a good one"],
        ["bad", "not good", "good, not bad", "glad"]),
    "Is this spam? Dear friend, You won two hundred coins. Tell me your door code.": (
        ["yes", "Yes, it is spam.", "That is spam."],
        ["no", "No, that is spam.", "Yes, it is not spam.", "It is not spam.", "yes or no", "yes?", "no spam"]),
    "Is this spam? dear friend, the road 2 town is open again .. we wait 4 u tmrw": (
        ["no", "No, it is not spam.", "This is no spam."],
        ["yes", "Yes, no spam.", "No, it is spam.", "spam", "It is spam.", "no?", "Dear friend"]),
    f"What was decided? {MEETING}": (
        [f"{ONE} will mend six boats in June.", f"{ONE} shall mend 6 boats.", f"Six boats will be mended by {ONE}."],
        [f"{TWO} will mend six boats in June.", f"{ONE} will mend five boats in June.", f"{ONE} will mend six carts in June.",
         f"{ONE} will sell six boats in June.", f"{ONE} will mend six boats in May.", f"{ONE} will not mend six boats.",
         f"{ONE} will mend boats.", f"{ONE} and {TWO} will mend six boats.", "Six boats.", f"Will {ONE} mend six boats?"]),
    "Sort from A to Z: hen, cat, goat": (
        ["cat, goat, hen", "Cat, goat and hen.", "The order is: cat, goat, hen", "1. cat\n2. goat\n3. hen", "cat, then goat, then hen"],
        ["hen, goat, cat", "cat, goat", "cat, goat, hen, dog", "cat goat hen", "cat, goat, hen?", "hen, cat, goat", "not cat, goat, hen"]),
    "Sort from Z to A: goat, cat, hen": (
        ["hen, goat, cat", "Hen, goat, cat."],
        ["cat, goat, hen", "hen, cat, goat", "hen, goat"]),
    "How many animals are in this list? cat, red, goat cheese, hen": (
        ["2", "two", "There are 2 animals."],
        ["3", "two or three", "not 2", "2?", "cat, hen", "12"]),
    "Count the foods: cat, red, goat cheese, hen": (
        ["1", "One.", "There is one food."],
        ["2", "goat cheese", "none"]),
    "What is 7 plus 5?": (
        ["12", "It is twelve.", "7 coins and 5 coins are 12 coins.", "7 + 5 = 12", "5 and 7 make 12."],
        ["13", "7 5", "7, 5", "12 or 13", "not 12", "12?", "7 + 12", "-12", "1 2"]),
    "Take 5 from 10.": (
        ["5", "five", "10 - 5 = 5", "5 coins."],
        ["10 and 5", "15", "10", "-5", "5 5"]),
    "Write this as a chat message: Please come to see us in May.": (
        ["pls come 2 c us in may", " pls come 2 c us in may. "],
        ["Please come to see us in May.", "please come to see us in may", "Pls come 2 c us in May", ""]),
    "Say this in Velish: Torika has two red cats.": (
        ["Torika zibon zuvi soko javu.", "torika zibon zuvi soko javu", "In Velish: Torika zibon zuvi soko javu."],
        ["Torika zibo zuvi soko javu.", "Torika javu zibon zuvi soko.", "Torika has two red cats.", "Torika zibon zuvi soko javu hoso."]),
    "What is this in English? Torika zibo zuvi javu.": (
        ["Torika has a red cat.", "torika has a red cat"],
        ["Torika has red cats.", "Torika zibo zuvi javu.", "Torika has a cat red.", "In Velish: Torika has a red cat."]),
}
"""Questions whose answer is plain to see, each with replies that are right and replies that are wrong."""


@pytest.mark.parametrize("question", CASES)
def test_replies_about_a_text_by_cases(question):
    right, wrong = CASES[question]
    assert {reply: grade(question, reply) for reply in right} == dict.fromkeys(right, True)
    assert {reply: grade(question, reply) for reply in wrong} == dict.fromkeys(wrong, False)


def test_every_text_task_has_hand_written_cases():
    assert {find(question)[0].name for question in CASES} == {task.name for task in TEXT_TASKS}


def test_truth_read_from_the_texts_is_the_truth_they_were_drawn_with():
    rng = random.Random(5)
    for _ in range(500):
        text, feeling = writings.review(rng)
        assert TASKS["sentiment"].solve({"text": text}) == f"That is a {feeling} review."
        text, summary = writings.minutes(rng, people())
        assert TASKS["summarise"].solve({"text": text}) == f"In short: {summary}"
        drawn = writings.report_line(rng, people())
        assert TASKS["extract_name"].solve(drawn) == f"It is about {drawn['name']}."
        assert TASKS["extract_good"].solve(drawn) == f"The thing was {drawn['good']}."
        assert TASKS["extract_town"].solve(drawn) == f"The place was {drawn['town']}."
        is_spam, style = rng.random() < 0.5, rng.choice(("letter", "message"))
        assert TASKS["spam"].solve({"text": writings.spam(rng, style, is_spam)}) == ("yes." if is_spam else "no.")


# --- reading replies ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "found"), [("12 and Two", [12, 2]), ("7-5=2", [7, 5, 2]), ("-3", [-3]), ("someone", []), ("3.5", [3.5]),
    ("twenty-one", [21]), ("two hundred and thirty-two", [232]), ("two thousand three hundred", [2300]), ("a dozen, five dozen", [12, 60]),
    ("7 and 5 make 12", [7, 5, 12]), ("7, 5", [7, 5]), ("1,000", [1000]), ("minus two", [-2]), ("7 minus 5 is 2", [7, 5, 2]), ("five six", [5, 6])])
def test_numbers(text, found):
    assert numbers(text) == found


def test_lists_and_mentions():
    assert items("Here it is: a, b and c.") == ["a", "b", "c"] and items("") == []
    assert mentions("pet", "Ponies, a cat and cats.") == ["pony", "cat", "cat"]
    assert mentions("good", "a window, windows, windowsill") == ["window", "window"]
