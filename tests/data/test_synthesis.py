"""Every way of making rows, through generators written by hand that behave as language models do, good and bad."""

from __future__ import annotations

import random
import re

import pytest

import workbench as wb
from workbench.data import layouts, making, ngrams, replies, retelling, sources, synthesis
from workbench.data.endpoint import Cut
from workbench.errors import DataError, WorkbenchError

SEEDS = [{"instruction": f"{verb} {thing}.", "input": given, "output": out} for verb, thing, given, out in (
    ("Name three uses of", "a paper clip", "", "Holding paper, picking locks, cleaning nails."),
    ("Translate into French the sentence", "below", "I am cold.", "J'ai froid."),
    ("Sort these words", "by their length", "pear, fig, banana", "fig, pear, banana"),
    ("Explain to a child why", "the sky is blue", "", "Air scatters blue light most."),
    ("Give advice to somebody who", "cannot sleep", "", "Go to bed at the same time each day."))]

NEW = ["Describe how bread rises when it is baked.", "Write a haiku about a rusty gate.", "List five rivers that cross a border.",
       "Correct the spelling of the given paragraph.", "Compare a violin with a cello.", "Suggest a name for a bakery run by twins.",
       "Turn the recipe into a shopping list.", "Find the odd one out among the animals.", "Invent a riddle whose answer is a shadow."]


WAYS = [*synthesis.DEEPER, "broader"]


class Scripted:
    """Answers prompts by the first pattern found in them; `seen` holds what it was asked. A reply may be a list, given one by one."""

    def __init__(self, *script, name="scripted"):
        self.script, self.name, self.seen = [[re.compile(pattern), reply] for pattern, reply in script], name, []

    def __call__(self, prompt):
        self.seen.append(prompt)
        for pattern, reply in self.script:
            if pattern.search(prompt):
                if isinstance(reply, list):
                    return reply.pop(0) if len(reply) > 1 else reply[0]
                return reply(prompt) if callable(reply) else reply
        raise AssertionError(f"nobody expected {prompt[:300]!r}")


def listed(texts, first=6):
    return "\n".join(f"{number}. {text}" for number, text in enumerate(texts, start=first))


def trains(made):
    """The rows as `load_rows` and a recipe take them."""
    table = wb.load_rows(made.rows)
    sources.check_layout(table)
    assert layouts.layout_of(table).name == "question/answer" and wb.Recipe(data=made.rows).data is not None
    return table.to_pylist()


# ---- self-instruct


def solver(prompt):
    task = re.findall(r"Task: (.*)", prompt)[-1]
    return f"Input: {'one, two' if 'given' in task else 'none'}\nOutput: The {len(task)} answers.\n\nTask: another one\nInput: x\nOutput: y"


def test_new_tasks_are_asked_for_by_demonstrations_and_answered():
    generator = Scripted(("unlike all above", [f"Here are more tasks:\n{listed(NEW[:2])}", listed(NEW[2:4])]), ("Solve the task", solver))
    made = synthesis.self_instruct(SEEDS, generator, demonstrations=5, tasks=2).make(4)
    found = trains(made)
    assert [row["question"] for row in found] == [*NEW[:3], f"{NEW[3]}\n\none, two"]
    assert {(row["made_by"], row["how"], row["generator"]) for row in found} == {("self_instruct", "new task", "scripted")}
    assert found[0]["answer"] == f"The {len(NEW[0])} answers." and found[0]["sources"] == [0, 1, 2, 3, 4]
    first, second = (prompt for prompt in generator.seen if "unlike all above" in prompt)
    assert all(seed["instruction"] in first for seed in SEEDS) and first.endswith("\n6.") and "2 more tasks" in first
    assert NEW[0] in second and NEW[1] in second and len(found[2]["sources"]) == 3  # two of five are its own by then
    assert generator.seen[1].count("Input: ") == 2 and generator.seen[1].rstrip().endswith(f"Task: {NEW[0]}")


@pytest.mark.parametrize(("task", "reply", "reason"), [
    ("Sort these words by length.", "Output: x", making.NEAR), ("Go on!", None, "too short"),
    ("?" + NEW[0], None, "starts with punctuation"),
    ("- " + NEW[0], None, "starts with punctuation"), ("Describe the picture of a dog.", None, "needs more than text"),
    ("Say " + "very " * 150 + "little.", None, "too long"), (NEW[0], "Input: none\nOutput:", "no answer"),
    (NEW[0], "Input: a text", "no answer"),
    (NEW[0], "!!", "no answer"), (NEW[0], f"Output: {NEW[0]}", "the answer repeats the task"),
    (NEW[0], "Input: some words\nOutput: Some words.", "the answer repeats the task")])
def test_a_task_is_dropped_for_its_reason_and_answered_only_if_it_passes(task, reply, reason):
    generator = Scripted(("unlike all above", listed([task])), ("Solve", reply))
    made = synthesis.self_instruct(SEEDS, generator).make(1)
    assert set(made.counts) == {reason} and made.counts[reason] == making.IN_VAIN and made.dropped["text"][0] == task
    assert made.asked == making.IN_VAIN * (1 if reply is None or reason == making.NEAR else 2)


def test_nearness_is_told_with_the_row_it_is_near_and_holds_for_rows_beside_too():
    generator = Scripted(("unlike all above", [listed([NEW[0], NEW[1], NEW[0].replace("baked", "made")]), listed(NEW[2:])]),
        ("Solve", solver))
    made = synthesis.self_instruct(SEEDS, generator, beside=[{"question": NEW[1].upper(), "answer": "a"}]).make(2)
    told = made.dropped
    assert told["text"].tolist() == [NEW[1], NEW[0].replace("baked", "made")] and set(told["reason"]) == {making.NEAR}
    assert told["nearest"].tolist() == [NEW[1].upper(), NEW[0]] and told["similarity"].tolist() == [1.0, 0.875]
    assert made.counts.total() == 4 and [row["question"] for row in trains(made)] == [NEW[0], NEW[2]]


def test_the_seed_tasks_of_the_paper(real_data):
    generator = Scripted(("unlike all above", [listed(NEW[i:i + 3], 9) for i in range(0, 9, 3)]), ("Solve", solver))
    made = synthesis.self_instruct(real_data / "self_instruct" / "seed_tasks.jsonl", generator).make(9)
    assert len(trains(made)) == 9 and len(made.shelf) == 175 + 9
    assert all(len(row["sources"]) in (6, 8) and max(row["sources"]) < 175 for row in trains(made))


# ---- evolving


def evolver(*, new=None, same="Different.", answer=lambda prompt: f"An answer of {len(prompt)} characters."):
    def deeper(prompt):
        return "Deeper: " + re.search(r"<instruction>\n(.*)\n", prompt)[1] + f" Mind point {len(prompt)}."

    return Scripted(("<instruction>", new or deeper), ("Do they ask for the same", same), ("", answer))


def test_an_instruction_is_evolved_round_after_round_on_what_it_became():
    generator = evolver()
    made = synthesis.evolve(["Name a colour that is warm.", "Add 5 and 6 in your head."], generator, rounds=3, ways=["constraint"]).make()
    found = trains(made)
    assert [row["sources"] for row in found] == [[0], [1]] * 3 and made.ended == "nothing is left to try"
    assert [row["question"].count("Deeper") for row in found] == [1, 1, 2, 2, 3, 3] and found[2]["question"].find(found[0]["question"]) > 0
    assert {row["how"] for row in found} == {"deeper: constraint"} and made.asked == 3 * 6
    assert all(row["answer"] == f"An answer of {len(row['question'])} characters." for row in found)


@pytest.mark.parametrize(("options", "reason"), [
    ({"new": "Name a colour that is warm!"}, "unchanged"), ({"new": "..."}, "no instruction in the reply"),
    ({"new": "Here is the rewritten instruction for you to read."}, "words of the prompt"), ({"same": "Same"}, "asks the same as before"),
    ({"same": "They are the same."}, "asks the same as before"), ({"answer": "I am sorry, I cannot do that."}, "refused"),
    ({"answer": "It is what it is."}, "stop words alone"), ({"answer": ""}, "no answer"),
    ({"new": "Show a graph of all warm colours."}, "needs more than text"),
    ({"new": "Add six and seven in your own head."}, making.NEAR)])
def test_an_evolution_that_failed_is_dropped_and_tried_again_from_where_it_was(options, reason):
    generator = evolver(**options)
    made = synthesis.evolve(["Name a colour that is warm.", "Add six and seven in your head."], generator, rounds=2, near=0.7).make()
    assert made.counts[reason] >= 2 and made.counts.total() == 4 == made.attempts
    first, second = (prompt for prompt in generator.seen if "<instruction>\nName a colour that is warm.\n" in prompt)
    assert (first != second) is (random.Random("0 evolve 0").choice(WAYS) != random.Random("0 evolve 2").choice(WAYS))


@pytest.mark.parametrize("same", ["Different", "They are not the same.", "different, not the same", "hm"])
def test_only_a_clear_same_is_one(same):
    assert synthesis.evolve(["Name a colour that is warm."], evolver(same=same), rounds=1).make().counts["kept"] == 1


def test_the_ways_are_all_taken_and_breadth_asks_for_another():
    generator = evolver()
    given = [f"{task} It matters for case {number}." for number, task in enumerate(NEW)]
    made = synthesis.evolve(given, generator, rounds=4, near=2, judged=False).make()
    assert {row["how"] for row in trains(made)} == {"broader", *(f"deeper: {way}" for way in synthesis.DEEPER)}
    assert sum("something rarer" in prompt for prompt in generator.seen) == sum(row["how"] == "broader" for row in trains(made))
    assert not any("Do they ask for the same" in prompt for prompt in generator.seen)


# ---- rewriting

PAIRS = [{"question": "Anna has 3 pears and eats 1. How many are left?", "answer": "There are 2 pears left for Anna."},
         {"question": "Where does Bert live?", "answer": "Bert lives in the small town of Ilden."}]


def test_one_part_is_rewritten_and_the_other_stays():
    generator = Scripted(("Anna", ['"Of 3 pears Anna eats 1; what number remains?"', "How many does Anna keep of 3 once 1 is eaten?"]),
                         ("Bert", ["What place is Bert's home?", "Which town has Bert in it?"]))
    made = synthesis.rewrite(PAIRS, generator, times=2).make()
    found = trains(made)
    assert [row["answer"] for row in found] == [PAIRS[0]["answer"], PAIRS[1]["answer"]] * 2
    assert [row["sources"] for row in found] == [[0], [1]] * 2
    assert found[0]["question"] == "Of 3 pears Anna eats 1; what number remains?"
    assert found[0]["how"] != found[2]["how"] and {row["how"].split(": ")[1] for row in found} <= set(retelling.WAYS)

    answers = Scripted(("Anna", "2 of Anna's pears are still there."), ("Bert", "You find Bert in Ilden."))
    found = trains(synthesis.rewrite(PAIRS, answers, part="answer", ways=["Turn it round."]).make())
    assert [(row["question"], row["how"]) for row in found] == [(row["question"], "answer: Turn it round.") for row in PAIRS]


@pytest.mark.parametrize(("reply", "reason"), [
    ("Anna has pears and eats 1. What remains?", "other numbers"), ("Of 3 pears Anna eats 1 of 7, so?", "other numbers"),
    ("Anna has 3 pears and eats 1. How many are left", making.NEAR), ("", "no text in the reply"),
    ("There are 2 pears left for Anna.", "other numbers")])
def test_a_rewriting_that_no_longer_fits_is_dropped(reply, reason):
    made = synthesis.rewrite(PAIRS[:1], Scripted(("", reply))).make()
    assert dict(made.counts) == {reason: 1}


# ---- questions about documents

DOCUMENTS = ["Jormira bakes bread in Ilden. She has a ferret called Pim.\n\nIn Ilden there is a market on Fridays.", "Tolva mends clocks."]


def test_documents_are_asked_about_passage_by_passage():
    two = "Q: What does Jormira of Ilden bake?\nA: Bread.\n\n**Q2:** What is Jormira's ferret called?\n**A2:** It is called Pim."
    generator = Scripted(("Jormira", two), ("market", "1. Question: When is the market of Ilden?\n   Answer: On Fridays."),
                         ("Tolva", "Q: What does Tolva mend?\nA: Clocks"))
    made = synthesis.question_answers(DOCUMENTS, generator, passage_words=14).make()
    found = trains(made)
    assert [(row["question"], row["answer"], row["sources"]) for row in found] == [
        ("What does Jormira of Ilden bake?", "Bread.", [0]), ("What is Jormira's ferret called?", "It is called Pim.", [0]),
        ("When is the market of Ilden?", "On Fridays.", [0]), ("What does Tolva mend?", "Clocks", [1])]
    assert len(generator.seen) == 3 and "market" not in generator.seen[0] and found[2]["how"] == "passage 2 of 3"


@pytest.mark.parametrize(("reply", "reason"), [
    ("Q: Who mends clocks in the text?\nA: Tolva", "speaks of the text"), ("Q: What does Tolva mend?\nA: Shoes", "not from the text"),
    ("Q: Who?\nA: Tolva", "too short"), ("Q: What does Tolva mend?\nA:", "no answer"), ("I cannot.", "no question and answer in the reply"),
    ("Q: What does Tolva mend?", "no question and answer in the reply"),
    ("Q: Tolva mends clocks\nA: Tolva mends clocks.", "the answer repeats the task")])
def test_a_pair_that_does_not_stand_by_itself_or_by_its_document_is_dropped(reply, reason):
    assert dict(synthesis.question_answers(DOCUMENTS[1:], Scripted(("", reply))).make().counts) == {reason: 1}


def test_questions_about_two_people_are_two_and_the_same_again_is_not():
    generator = Scripted(("", lambda prompt: f"Q: Where does {prompt.split('<text>')[1].split()[0]} live now?\nA: In Ilden"))
    made = synthesis.question_answers(["Anna lives in Ilden.", "Bert lives in Ilden."], generator, times=2).make()
    assert dict(made.counts) == {"kept": 2, making.NEAR: 2}
    assert "3 questions" in generator.seen[0] and "3 more questions" in generator.seen[-1]


def test_passages_lose_no_word_and_cut_between_paragraphs_where_that_goes(real_data):
    text = (real_data / "tinyshakespeare" / "input.txt").read_text(encoding="utf-8")[:60_000]
    for most in (5, 50, 300):
        found = retelling.passages(text, most)
        assert max(len(ngrams.words(piece)) for piece in found) <= most or most == 5
        assert [word for piece in found for word in ngrams.words(piece)] == ngrams.words(text)
    assert retelling.passages("a b. c d e.\n\nf g", 3) == ["a b.", "c d e.", "f g"]
    assert retelling.passages("one two three four five", 2) == ["one two", "three four", "five"]
    assert retelling.passages("a\n\nb\n\nc d e", 3) == ["a\n\nb", "c d e"]


# ---- who the model is


def test_without_a_generator_phrases_say_the_name_and_the_maker():
    made = synthesis.identify("Orla-1", "the Orla Guild").make()
    found = trains(made)
    assert len(found) >= 100 and len({row["question"] for row in found}) >= 35 and made.counts["kept"] == len(found)
    assert all("Orla-1" in row["answer"] and "{" not in row["question"] + row["answer"] for row in found)
    assert all("the Orla Guild" in row["answer"] for row in found if row["how"] in ("phrases: maker", "phrases: who"))
    few = trains(synthesis.identify("Orla-1", "the Orla Guild", seed=3).make(20))
    assert len({row["question"] for row in few}) == 20 and few != found[:20]


def test_slots_of_the_real_rows_are_filled(real_data):
    made = synthesis.identify("Orla", "the Guild", rows=real_data / "identity" / "identity.json").make()
    found = trains(made)
    assert len(found) == 91
    assert found[0]["answer"] == "Hello! I am Orla, an AI assistant developed by the Guild. How can I assist you today?"
    assert not any(re.search(r"\{\{|NAME|AUTHOR", row["question"] + row["answer"]) for row in found)
    slots = [{"question": "Who?", "answer": "I am NAME by AUTHOR, {name} of {maker}."}]
    spoken = trains(synthesis.identify("Orla", "the Guild", rows=slots).make())
    assert spoken[0]["answer"] == "I am Orla by the Guild, Orla of the Guild."


@pytest.mark.parametrize(("answer", "reason"), [
    ("I am a helpful assistant.", "does not say its name"), ("I am Orla, trained by Other Labs.", "says somebody else made it"),
    ("", "no answer"),
    ("I am Orlando.", "does not say its name"), ("I am Orla, made by the Guild.", "kept"), ("Orla is my name. The Guild made me.", "kept")])
def test_a_generator_answers_as_the_model_or_is_dropped(answer, reason):
    asked = [f"{word} are you to the {word} people of {word}?" for word in ("Who", "What", "Whose", "Which")]
    generator = Scripted(("ask an assistant about itself", listed(asked, 5)), ("You are Orla, an assistant made by the Guild", answer))
    made = synthesis.identify("Orla", "the Guild", generator).make(1)
    assert made.counts[reason] and set(made.counts) == {reason}


def test_who_is_asked_for_its_maker_says_it():
    asked = [f"{word} are you to the {word} people of {word}?" for word in ("Who", "What", "Whose", "Which")]
    generator = Scripted(("ask an assistant about itself", listed(asked, 5)), ("and naming your maker", "I am Orla, of nobody."),
        ("", "I am Orla."))
    made = synthesis.identify("Orla", "the Guild", generator, tasks=1, near=2).make(20)
    assert {row["how"] for row in trains(made)} == {"asked for its name"} and made.counts["does not say its maker"] > 20


# ---- replies that were cut off


@pytest.mark.parametrize(("call", "script", "counts"), [
    (lambda g: synthesis.self_instruct(SEEDS, g, beside=NEW[:1]), [("unlike", Cut(listed(NEW[1:3]))), ("Solve", "Output: It is done.")],
     {"kept": 1}),
    (lambda g: synthesis.self_instruct(SEEDS, g), [("unlike", listed(NEW[:1])), ("Solve", Cut("Output: It goes"))], {"kept": 0}),
    (lambda g: synthesis.self_instruct(SEEDS, g), [("unlike", listed(NEW[:1])),
     ("Solve", Cut("Output: It went.\nTask: Ano"))], {"kept": 1}),
    (lambda g: synthesis.evolve(["Name a colour."], g, rounds=1), [("", Cut("Name three colours that are warm and"))], {"kept": 0}),
    (lambda g: synthesis.evolve(["Name a colour."], g, rounds=1, judged=False),
     [("<instruction>", "Name three colours that are warm."), ("", Cut("Red, yellow and or"))], {"kept": 0}),
    (lambda g: synthesis.rewrite(PAIRS[1:], g), [("", Cut("What place is Bert's"))], {"kept": 0}),
    (lambda g: synthesis.question_answers(DOCUMENTS[1:], g), [("",
     Cut("Q: What does Tolva mend?\nA: Clocks\nQ: Who mends clocks?\nA: Tolva m"))],
     {"kept": 1}),
    (lambda g: synthesis.identify("Orla", "the Guild", g), [("itself", listed(["Who is that again?"], 5)),
     ("", Cut("I am Orla, made by the Guild, and"))],
     {"kept": 0})])
def test_a_reply_that_was_cut_off_loses_what_broke_and_no_more(call, script, counts, tmp_path):
    made = call(Scripted(*script))
    made._replies = making.Kept(tmp_path / "replies.jsonl", ("reply", "cut"))
    made.make(1)
    assert made.counts["kept"] == counts["kept"] and (made.counts["breaks off"] or counts["kept"])
    again = call(Scripted(*([pattern, str(reply)] for pattern, reply in script)))  # what is kept knows of the cut, whoever asks again
    again._replies = making.Kept(tmp_path / "replies.jsonl", ("reply", "cut"))
    assert again.make(1).counts == made.counts and again.asked == 0


# ---- refusals before anything is asked


@pytest.mark.parametrize(("call", "words"), [
    (lambda g: synthesis.self_instruct([], g), "no rows"), (lambda g: synthesis.self_instruct(SEEDS, g, demonstrations=0),
    "demonstrations"),
    (lambda g: synthesis.self_instruct(SEEDS, g, near=0), "near is 0"), (lambda g: synthesis.self_instruct(SEEDS, 5), "from a int"),
    (lambda g: synthesis.self_instruct([{"prompt": "a", "chosen": "b", "rejected": "c"}], g), "preference pairs"),
    (lambda g: synthesis.self_instruct(["?!"], g), "Row 1 .*asks nothing"),
    (lambda g: synthesis.self_instruct(SEEDS, g).make(), "how many"),
    (lambda g: synthesis.self_instruct(SEEDS, g, temperature=1), "temperature cannot be set"),
    (lambda g: synthesis.self_instruct(SEEDS, "town", heat=1), "no setting 'heat'"),
    (lambda g: synthesis.self_instruct(SEEDS, "town", max_tokens=0), "max_tokens"),
    (lambda g: synthesis.self_instruct(SEEDS, "town", temperature=-1), "temperature"),
    (lambda g: synthesis.evolve(SEEDS, g, ways=["sideways"]), "sideways"), (lambda g: synthesis.evolve(SEEDS, g, ways=[]), "No way"),
    (lambda g: synthesis.evolve(SEEDS, g, rounds=0), "rounds"), (lambda g: synthesis.rewrite(PAIRS, g, part="title"), "title"),
    (lambda g: synthesis.rewrite(["a b"], g), "Row 1 has no answer"), (lambda g: synthesis.rewrite(PAIRS, g, ways="shorter"), "No way"),
    (lambda g: synthesis.question_answers(["", " "], g), "no words"),
    (lambda g: synthesis.question_answers(DOCUMENTS, g, grounded=2), "grounded"),
    (lambda g: synthesis.question_answers(DOCUMENTS, g, pairs=0), "pairs"), (lambda g: synthesis.identify("", "x"), "name is ''"),
    (lambda g: synthesis.identify("x", None), "maker is None"), (lambda g: synthesis.identify("a", "b", rows=PAIRS), "slot"),
    (lambda g: synthesis.identify("a", "b", workers=3), "workers"), (lambda g: synthesis.self_instruct("nowhere.jsonl", g), "no file")])
def test_what_cannot_work_is_a_sentence_with_a_remedy_and_nobody_is_asked(call, words):
    generator = Scripted()
    with pytest.raises(DataError, match=words) as caught:
        call(generator)
    assert caught.value.remedy and len(str(caught.value).splitlines()) == 1 and generator.seen == []


def test_a_model_that_is_not_there_is_said_before_weights_are_read(tmp_path):
    for source in (str(tmp_path), "./nowhere", "town-gigantic"):
        with pytest.raises(WorkbenchError):
            synthesis.self_instruct(SEEDS, source)


# ---- reading replies


@pytest.mark.parametrize(("reply", "first", "items", "torn"), [
    ("Sure!\n9. One two.\n10. Three four.", 9, ["One two.", "Three four."], ""),
    (" One two.\n10. Three four.", 9, ["One two.", "Three four."], ""),
    ("Here you go:\n1) One.\n2) Two.", 9, ["One.", "Two."], ""), ("9. One.\n10. Two and", 9, ["One."], "Two and"),
    ("Just this", 3, ["Just this"], ""),
    ("Tasks:", 3, [], ""), ('**9.** "Quoted."\n\n**10.** *Two.*', 9, ["Quoted.", "Two."], ""), ("", 1, [], ""),
    ("9.\n10. Two.", 9, ["Two."], "")])
def test_lists_are_read_as_models_write_them(reply, first, items, torn):
    assert replies.numbered(reply, first) == (items, torn)


def test_seeds_come_in_any_layout_to_train_on():
    talk = {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]}
    for rows, task in (([talk], ("Q", "", "A")), ([{"prompt": "Q", "completion": " A"}], ("Q", "", "A")), (["Q"], ("Q", "", "")),
                       ([{"instruction": "Q", "input": "I", "output": "A"}], ("Q", "I", "A")),
                       ([{"question": "Q", "answer": "A"}], ("Q", "", "A")),
                       ([{"instruction": "Q", "instances": [{"input": "I", "output": "A"}]}], ("Q", "I", "A"))):
        assert replies.tasks_of(rows) == [replies.Task(*task)]
