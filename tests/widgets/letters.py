"""Rows and a task as the panels are drawn with: letters, a question about each, and the answer that stands in it."""

from __future__ import annotations

import random

from workbench.templates.tasks import Task, Template

NAMES = ("Orla", "Tomas", "Mira", "Jorn", "Edda", "Wren")
WAYS = (("by the upper lane", "the road by the ford is flooded"), ("over the old bridge", "the new one is mended"),
        ("by boat", "the lane is full of sheep"), ("on the mail cart", "the grey mare is lame"))


def letters(count: int = 160, seed: int = 0) -> list[dict]:
    """`count` rows of four columns; letters have from one to nine sentences."""
    rng, rows = random.Random(seed), []
    for _ in range(count):
        to, by = rng.sample(NAMES, 2)
        way, why = rng.choice(WAYS)
        count_of_more = rng.choice((0, 1, 1, 2, 2, 3, 4, 8))
        more = " ".join(f"{rng.choice(NAMES)} brings {rng.randint(2, 9)} sacks of barley." for _ in range(count_of_more))
        rows.append({"letter": f"Dear {to}, I come {way}, for {why}. {more} Yours, {by}", "question": f"Which way will {by} come?",
                     "answer": f"{way[0].upper()}{way[1:]}, because {why}.", "author": by})
    return rows


LETTERS = letters()
TASK = Task(name="letters", system="Answer from the letter only. If it does not say, write unknown.", templates=(
    Template(name="letter first", input="Letter: {{ letter }}\nQuestion: {{ question }}", target="{{ answer }}"),
    Template(name="question first", input="{{ question }}\n\nThis is the letter: {{ letter }}", target="{{ answer }}"),
    Template(name="short", input="{{ letter }}\n{{ question }}", target="{{ answer }}")))
