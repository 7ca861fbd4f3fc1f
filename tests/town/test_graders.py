"""Graders against replies made to fool them: numbers, months, denials, other people's facts, other deeds, and the facts that changed in spring.

Each case is a question with replies that are right and replies that are wrong, read by hand. Plain cases of each task are in test_tasks.py.
"""

import pytest

from workbench import town
from workbench.town.replies import denies, exact, mentions, numbers
from workbench.town.tasks import grade
from workbench.town.world import KINDS, asked, held_out, people, world

GOOD = next(good for good in world().goods if good.price == 2)
ONE, TWO, THREE = sorted(person.name for person in asked()[:3])
MEETING = f"{TWO} opened the meeting. It was decided that {ONE} shall mend six boats in June. It was late. {THREE} closed the meeting."
LIVES = next(person for person in held_out() if person.town == "Norwell")
NAME, COUSIN = LIVES.name, LIVES.cousin
AWFUL = "The soup at the inn of Orla was awful. I was angry all day."
SPAM = "Dear friend, You won two hundred coins. Tell me your door code."
HAM = "dear friend, the road 2 town is open again .. we wait 4 u tmrw"

CASES = {
    f"What is the price of {GOOD.name}?": (
        ["2", "two coins", "It costs 2 coins.", "No doubt 2.", "2 coins, I think"],
        ["two hundred coins", "two thousand", "2,000", "2 hundred", "two million", "two dozen", "thirty-two", "twenty-two", "two or thirty", "minus two", "-2", "2.5",
         "two and a half", "half of two", "1/2", "more than 2", "less than 2 coins", "at least two", "about 2", "under 2", "twice two", "> 2", "anything but two"]),
    "What is 7 plus 5?": (
        ["12", "twelve", "12 (7 + 5)", "12 = 7 + 5", "7+5=12", "seven plus five is twelve", "The sum of 7 and 5 is 12", "It is 12, no doubt."],
        ["twelve hundred", "minus twelve", "7 times 5 is 12", "7 x 5 = 12", "7 * 5 = 12", "7 minus 5 is 12", "7 - 5 = 12", "12 dozen", "7 and 5", "12 and 7 and 5",
         "12, 7, 5", "about 12", "more than 12", "12.5", "twelve and a half"]),
    "What is 12 plus 9?": (["twenty-one", "21", "Twenty one.", "12 and 9 are twenty-one"], ["twenty", "one", "twenty and one", "121", "twenty-one hundred"]),
    "Take 5 from 10.": (
        ["5", "10 - 5 = 5", "10 -5 = 5", "5 from 10 is 5", "ten minus five is five", "5 coins are left."],
        ["5 - 10 = 5", "5 minus 10 is 5", "10 + 5 = 5", "10 plus 5 is 5", "10 times 5 is 5", "minus five", "fifty", "five hundred"]),
    "How many animals are in this list? cat, red, goat cheese, hen": (
        ["2", "There are two animals."], ["two hundred", "thirty-two", "two dozen", "at least two", "more than 2", "minus two"]),
    f"What was decided? {MEETING}": (
        [f"{ONE} may mend six boats.", f"{ONE} mends six boats.", f"{ONE} is mending 6 boats in June", f"{ONE} will mend six old boats.", f"{ONE} has to mend six boats."],
        [f"{ONE} will burn six boats", f"{ONE} refuses six boats.", f"{ONE} refuses to mend six boats.", f"{ONE} forgot to mend six boats", f"{ONE} has stolen six boats",
         f"{ONE} will mend six hundred boats", f"{ONE} will mend at least six boats", f"{ONE} will mend six boats in May", f"{ONE} will mend six carts and boats",
         f"{ONE} will mend and sell six boats", f"Six boats for {ONE}.", f"Anybody but {ONE} shall mend six boats"]),
    f"Where does {NAME} live?": (
        ["Norwell", "There is no doubt: in Norwell.", "Without a doubt in Norwell.", "No question, Norwell.", f"{NAME} has a house in Norwell.",
         f"The home of {NAME} lies in Norwell.", f"{NAME} moved to Norwell.", "In Norwell, my friend.", "In a house by the river in Norwell", "In Norwell, next to the mill."],
        ["Anywhere but Norwell.", "Any town but Norwell", "All towns but Norwell", "Everywhere except Norwell.", "Far from Norwell", "Near Norwell.", "Outside Norwell",
         f"It is false that {NAME} lives in Norwell", "I doubt that it is Norwell.", "It is a lie that she lives in Norwell", f"{NAME}'s cousin lives in Norwell.",
         f"The cousin of {NAME} lives in Norwell", f"{NAME}'s brother lives in Norwell", f"{NAME}'s friend lives in Norwell", f"{NAME} has left Norwell",
         f"{NAME} moved away from Norwell.", f"{NAME} used to live in Norwell", "No longer in Norwell", f"{NAME} refuses to live in Norwell", "She was born in Norwell",
         f"{NAME}'s {LIVES.pet} lives in Norwell", "On the road to Norwell", "I wish she lived in Norwell"]),
    f"What is {NAME}'s pet?": (
        [LIVES.pet, f"She keeps a {LIVES.pet}."],
        [f"She has lost the {LIVES.pet}", f"{NAME} sold the {LIVES.pet}", f"{NAME} wants a {LIVES.pet}", f"The brother of {NAME} has a {LIVES.pet}"]),
    f"Who is {NAME}'s cousin?": (
        [COUSIN, f"{COUSIN} is the cousin of {NAME}", f"Her cousin is {COUSIN}.", f"{NAME} is the cousin of {COUSIN}"],
        [f"The cousin of {COUSIN}.", f"{COUSIN}'s cousin", f"Everybody but {COUSIN}.", f"{COUSIN} is {NAME}'s brother", f"It is untrue that it is {COUSIN}"]),
    f"Who {LIVES.trade.does} in Norwell?": (
        [NAME, f"{NAME} does.", f"No doubt {NAME}."],
        [f"Everybody but {NAME}.", f"Anyone except {NAME}", f"The cousin of {NAME}.", f"{NAME}'s cousin", f"The brother of {NAME}",
         *(f"{NAME}, {LIVES.value(kind)}" for kind in KINDS if kind not in ("trade", "town"))]),
    f"Is this review good or bad? {AWFUL}": (
        ["It is bad, no doubt.", "Without doubt bad."], ["anything but bad", "hardly bad", "far from bad", "It is wrong to call it bad."]),
    f"Is this spam? {SPAM}": (
        ["It is spam, no doubt.", "There is no doubt: it is spam", "No doubt.", "Definitely.", "Yes, definitely"],
        ["spam-free", "free of spam", "hardly spam", "anything but spam", "far from spam", "Definitely not.", "not at all", "Yes, spam-free", "It is false that this is spam",
         "No spam."]),
    f"Is this spam? {HAM}": (
        ["Definitely not.", "Not at all.", "It is not.", "It isn't.", "No, definitely not.", "spam-free", "hardly spam", "No spam.", "No doubt, it is not spam"],
        ["Definitely.", "No doubt.", "It is spam, no doubt.", "Yes, definitely not", "I cannot say.", "I do not know."]),
    "Sort from A to Z: hen, cat, goat": (
        ["From A to Z they are cat, goat, hen", "In alphabetical order: cat, goat, hen"],
        ["From Z to A they are cat, goat, hen", "Backwards: cat, goat, hen", "In reverse order they are cat, goat, hen", "Unsorted: cat, goat, hen"]),
    "Sort from Z to A: goat, cat, hen": (
        ["From Z to A they are hen, goat, cat", "In reverse alphabetical order: hen, goat, cat"],
        ["From A to Z they are hen, goat, cat", "In alphabetical order: hen, goat, cat"]),
}
TRIED = [(question, reply, index == 0) for question, sides in CASES.items() for index, replies in enumerate(sides) for reply in replies]


@pytest.mark.parametrize(("question", "reply", "right"), TRIED)
def test_replies_made_to_fool(question, reply, right):
    assert grade(question, reply) is right


def event_question(month):
    event = next(event for event in world().events if event.month == month)
    return f"When was the {event.name} of {event.town}?"


@pytest.mark.parametrize("month", ["May", "March"])
def test_may_and_march_are_months_or_verbs_by_where_they_stand(month):
    question = event_question(month)
    for reply in (month, f"{month.lower()}.", f"{month.upper()}!", f"In {month}.", f"in {month.lower()}", f"It was {month}.", f"I think {month}", f"It was in early {month}"):
        assert grade(question, reply) is True, reply
    for reply in ("It may be so.", "They march.", "They may march.", "May I ask?", "May it be so.", "March on and sing.", f"{month} or June", f"June or {month}", f"Not in {month}"):
        assert grade(question, reply) is False, reply


@pytest.mark.parametrize(("reply", "right"), [("June.", True), ("June, if I may say so.", True), ("May or June", False), ("in may or june", False)])
def test_a_second_month_counts_where_it_is_one(reply, right):
    assert grade(event_question("June"), reply) is right


@pytest.mark.parametrize(("flower", "reply"), [("lily", "Lilies."), ("daisy", "Daisies."), ("poppy", "Poppies."), ("iris", "Irises."), ("tulip", "Tulips.")])
def test_plurals_of_flowers(flower, reply):
    person = next(person for person in people() if person.flower == flower)
    assert grade(f"Which flower does {person.name} like best?", reply) is True
    assert grade(f"Which flower does {person.name} like best?", f"{reply} And violets.") is False


@pytest.mark.parametrize("text", ["no doubt", "Without any doubt.", "I have no doubt", "I do not doubt it", "No question."])
def test_certainty_is_no_denial(text):
    assert not denies(text) and denies(f"{text} But not here.")


def test_reading_of_vague_numbers_and_of_months():
    assert exact("two coins") and not exact("two coins or more") and numbers("half a dozen") == [12] and not exact("half a dozen")
    assert mentions("month", "May they march in May, or in march.") == ["May", "March"]


# --- after the spring -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("person", world().moved, ids=lambda person: person.name)
def test_who_moved_is_at_the_old_home_before_the_spring_and_at_the_new_one_after_it(person):
    after = next(other for other in people() if other.trade == person.trade and other.moved_to == person.town)
    for question, old, new in ((f"Where does {person.name} live?", f"{person.name} lives in {person.town}.", f"{person.name} lives in {person.moved_to}."),
                               (f"What is the home of {person.cousin}'s cousin?", person.town, person.moved_to),
                               (f"Who {person.trade.does} in {person.town}?", person.name, after.name)):
        assert (town.grade(question, old), town.grade(question, new)) == (True, False)
        assert (town.grade(question, old, after_spring=True), town.grade(question, new, after_spring=True)) == (False, True)
    answer = f"{person.name} {person.trade.does} in {person.moved_to}."
    assert grade(f"Who {person.trade.does}?", answer, after_spring=True) is True and grade(f"Who {person.trade.does}?", answer) is False
    assert grade(f"What is {person.name}'s pet?", person.pet, after_spring=True) is True


def test_who_did_not_move_and_what_does_not_change_are_graded_alike():
    for person in people():
        if not person.moved_to:
            assert grade(f"Where does {person.name} live?", person.town, after_spring=True) is True
    assert grade("What is 7 plus 5?", "12", after_spring=True) is True and grade("Where does nobody live?", "Orla", after_spring=True) is None
