"""Conversations: turns are true and in order, the last needs the ones before it, and its grader takes the fact meant and nothing else."""

import pytest

from workbench.town.conversations import SORTS, conversations, right_last
from workbench.town.replies import everybody
from workbench.town.tasks import grade
from workbench.town.world import World, asked, held_out, village

ROWS = conversations(250, 1, asked())


def of_sort(sort):
    return [row for row in ROWS if row["sort"] == sort]


def test_rows_have_turns_in_order_and_are_the_same_each_time():
    assert ROWS == conversations(250, 1, asked()) != conversations(250, 2, asked())
    assert {len(of_sort(sort)) for sort in SORTS} == {50}
    for row in ROWS:
        assert [message["role"] for message in row["messages"]] == ["user", "assistant"] * (len(row["messages"]) // 2)
        assert 2 <= len(row["messages"]) // 2 <= 4
        assert all(len(message["content"].split()) <= 14 for message in row["messages"])
    assert {len(row["messages"]) // 2 for row in ROWS} == {2, 3, 4}


def test_every_assistant_turn_is_true():
    graded = 0
    for row in ROWS:
        for said, reply in zip(row["messages"][::2], row["messages"][1::2], strict=True):
            verdict = grade(said["content"], reply["content"])
            assert verdict is not False, row
            graded += verdict is True
        assert right_last(row, row["messages"][-1]["content"]), row
    assert graded > 200


def test_the_last_turn_cannot_be_understood_alone():
    assert all(grade(row["messages"][-2]["content"], "") is None for row in ROWS)


def test_only_people_of_the_folk_are_named():
    for folk, others in ((asked(), held_out()), (held_out(), asked())):
        named = {name for row in conversations(200, 3, folk) for name in row["people"]}
        assert named <= {person.name for person in folk} and not named & {person.name for person in others}


@pytest.mark.parametrize("sort", SORTS)
def test_answers_of_other_rows_are_wrong(sort):
    rows = of_sort(sort)
    for row, other in zip(rows, rows[1:] + rows[:1], strict=True):
        if sort != "thanks" and not set(row["people"]) & set(other["people"]):
            assert not right_last(row, other["messages"][-1]["content"])
        assert not right_last(row, "") and not right_last(row, "I do not know.") and not right_last(row, row["messages"][-2]["content"])


def test_a_pronoun_means_the_one_spoken_of_last():
    row = next(row for row in of_sort("follow_up") if len(row["people"]) == 2)
    meant = next(name for name in row["people"] if name in row["question"])
    other = next(name for name in row["people"] if name != meant)
    reply = row["messages"][-1]["content"]
    assert meant in reply and not right_last(row, reply.replace(meant, other))


def test_a_chain_asks_about_the_cousin():
    for row in of_sort("chain"):
        cousins = [everybody()[name.lower()] for name in row["people"]]
        assert len(cousins) == 2 and cousins[0].cousin == cousins[1].name
        assert row["messages"][-3]["content"].endswith(f" is {next(name for name in row['people'] if name in row['question'])}.")


def test_giving_way_to_a_doubt_is_wrong_and_standing_firm_is_right():
    for row in of_sort("doubt"):
        firm = row["messages"][-1]["content"]
        wrong = row["messages"][-2]["content"].rstrip(".?").split(" it is ")[-1].split(" of ")[-1].removeprefix("Is it not ")
        assert right_last(row, f"Yes, {firm}") and right_last(row, f"No. {firm}")
        assert not right_last(row, f"You are right, it is {wrong}.") and not right_last(row, f"{firm} Or it is {wrong}.")


@pytest.mark.parametrize(("reply", "right"), [
    ("You are welcome.", True), ("Gladly.", True), ("I am glad to help.", True), ("Thank you.", False),
    ("You are welcome. Where do you live?", False),
    (f"You are welcome. {asked()[0].name} lives there.", False), ("You are welcome. " * 10, False),
])
def test_thanks_want_a_word_of_welcome(reply, right):
    assert right_last(of_sort("thanks")[0], reply) is right


def test_one_person_is_too_few():
    with pytest.raises(ValueError, match="at least two"):
        conversations(5, 0, asked()[:1])


@pytest.mark.parametrize(("reply", "right"), [
    ("You are not welcome.", False), ("I am not glad, go away.", False), ("I am glad, go away.", False), ("You are never welcome.", False), ("Hardly welcome.", False),
    ("Not at all.", True), ("You are welcome, no problem.", True), ("Not at all, you are welcome.", True),
])
def test_a_denied_welcome_is_none(reply, right):
    assert right_last(of_sort("thanks")[0], reply) is right


@pytest.mark.parametrize(("before", "right"), [
    ("You are right, I was wrong. ", False), ("You may be right. ", False), ("My mistake: ", False), ("I was mistaken. ", False), ("You're right. ", False),
    ("That is wrong. ", True), ("You are mistaken. ", True), ("Yes, I am sure. ", True), ("No, that is not so: ", True), ("There is no doubt: ", True),
])
def test_what_stands_before_the_truth_says_whether_it_stands_firm(before, right):
    for row in of_sort("doubt"):
        assert right_last(row, before + row["messages"][-1]["content"]) is right


def test_people_of_another_world_and_fewer_than_none_are_refused():
    with pytest.raises(ValueError, match="not of the shipped town.*town.world"):
        conversations(5, 0, World(7, 500).people)
    with pytest.raises(ValueError, match="whole number from 0 on, got -1"):
        conversations(-1, 0, asked())
    assert len(conversations(10, 0, village())) == 10
