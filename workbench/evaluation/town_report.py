"""What fine-tuning does to the town's base models, as tables: `python -m workbench town report`.

Every training is an ordinary run (recipe, worker, journal) on rows of the town; every reply is greedy and graded exactly. Each figure is the mean over the seeds with the
lowest and highest beside it. What is measured is in the functions' docstrings; nothing is left out because it came out badly.
"""

import random
import re
import statistics
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench import town
from workbench.models.methods import Full, LoRA
from workbench.recipes import TOWN_MODELS, Recipe, load
from workbench.runs.run import Run
from workbench.runs.standby import standby
from workbench.runs.start import start
from workbench.town import documents, tasks
from workbench.town.datasets import mixed
from workbench.town.world import KINDS, asked, held_out, people, village, world

RANK, LORA_RATE, EPOCHS, BATCH = 8, 3e-3, 6, 16
"""The adapter of every table: rank, peak learning rate, epochs over the rows, rows a step."""
RATES = {"LoRA": (1e-3, LORA_RATE), "full": (1e-4, 3e-4, 1e-3)}
"""Peak learning rates that each method may choose from, on questions that its figures are not of."""
AMOUNTS, PHRASINGS = (125, 250, 500, 1000), (1, 2, 4)
TASK_ORDER = ("trade", "sort", "translate", "town", "extract_name", "who", "sentiment", "pet", "add", "count", "cousin", "spam", "food", "rewrite", "drink", "summarise",
              "two_facts", "flower", "event", "weather", "game", "extract_good", "price", "any")
TASK_COUNTS = (1, 3, 6, 12, 24)
ROWS = 480
"""Rows wherever tasks or phrasings are compared: each count of tasks divides it."""
NEAREST = "two_facts_new"
"""The held-out task nearest to trained ones: a column of its own beside the mean of all, which one task moves little."""
NEWS_STEPS, NEWS_RATE = 300, 1e-3
TASK_ROWS, TEXTS = 50, 128


@dataclass(slots=True)
class Measured:
    """One trained model: shares between 0 and 1, seconds of training, nats a token of plain text."""

    seconds: float
    facts: float
    """Exact on questions about held-out people whose facts the base knows."""
    tasks: dict[str, float] = field(default_factory=dict)
    """Exact on each held-out task."""
    chosen_by: float = 0.0
    """Exact on the questions that a learning rate is chosen by."""
    text_loss: float = 0.0
    completion: float = 0.0
    """Facts that come out when a statement breaks off before the value."""


class Bench:
    """Trains and measures; one line on `say` for each training."""

    def __init__(self, folder: Path, say: Callable[[str], None]):
        self.folder, self.say = folder, say
        questions = town.rows("heldout")
        self.choosing = questions[::7]
        self.facts = [row for number, row in enumerate(questions) if number % 7]
        self.tasks = {name: tasks.task_rows(name, TASK_ROWS, 6, held_out()) for name in tasks.HELD_OUT}
        self.texts = documents.sample_texts(TEXTS)
        self.folk = people()

    def train(self, rows: list[dict[str, Any]], seed: int, method: Any, rate: float, model: str = "town", **more: Any) -> tuple[Run, float]:
        """A finished run and its seconds from the first event to the last."""
        fields = dict(epochs=EPOCHS, batch_size=BATCH, max_length=160) | more
        standby()
        run = start(Recipe(model=model, data=rows, method=method, learning_rate=rate, seed=seed, heldout=0, sample_prompts=0, checkpoint_every=10**6, **fields),
                    runs=self.folder)
        run.wait()
        run.history.refresh()
        if run.status != "finished":
            raise RuntimeError(run.status.sentence)
        return run, run.history.last_time - run.history.started.time

    def taught(self, rows: list[dict[str, Any]], seed: int, method: Any = None, rate: float = LORA_RATE, model: str = "town", whole: bool = False) -> Measured:
        """Train on rows and measure; `whole` measures what was forgotten too."""
        run, seconds = self.train(rows, seed, method or LoRA(rank=RANK), rate, model)
        measured = self.measure(*run.load(), whole)
        measured.seconds = seconds
        self.say(f"{len(rows)} rows, seed {seed}, {type(method or LoRA()).__name__} {rate:g}, {model}: facts {measured.facts:.0%}, "
                 f"{NEAREST} {measured.tasks[NEAREST]:.0%}, held-out tasks {statistics.mean(measured.tasks.values()):.0%}, {seconds:.0f} s")
        return measured

    def measure(self, model: Any, tokenizer: Any, whole: bool = False) -> Measured:
        measured = Measured(0.0, self.right(model, tokenizer, self.facts), {name: self.right(model, tokenizer, rows) for name, rows in self.tasks.items()})
        if whole:
            measured.chosen_by = self.right(model, tokenizer, self.choosing)
            measured.text_loss, measured.completion = self.text_loss(model, tokenizer), completion(model, tokenizer, self.folk)
        return measured

    def right(self, model: Any, tokenizer: Any, rows: list[dict[str, Any]]) -> float:
        """Share of rows whose greedy reply is right."""
        from workbench.town.measure import chat_replies

        questions = [row["question"] for row in rows]
        return statistics.mean(bool(town.grade(question, reply)) for question, reply in zip(questions, chat_replies(model, tokenizer, questions, 40), strict=True))

    def text_loss(self, model: Any, tokenizer: Any) -> float:
        """Mean nats a token on plain documents."""
        import torch

        total = count = 0.0
        with torch.no_grad():
            for text in self.texts:
                ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
                total += model(input_ids=ids, labels=ids).loss.item() * (ids.shape[1] - 1)
                count += ids.shape[1] - 1
        return total / count


def completion(model: Any, tokenizer: Any, folk: Sequence[Any], kinds: Iterable[str] = KINDS) -> float:
    """Share of facts that greedy completion of a statement gives, over people and kinds."""
    from workbench.town.measure import completes

    return statistics.mean(completes(model, tokenizer, list(folk), kind) for kind in kinds)


def spread(values: Iterable[float], percent: bool = True) -> str:
    """ "87 % (85-90)", or "1.23 (1.20-1.25)"; one value alone without a range."""
    values = list(values)
    show = (lambda v: f"{100 * v:.0f}") if percent else (lambda v: f"{v:.2f}")
    unit = " %" if percent else ""
    return show(statistics.mean(values)) + unit + (f" ({show(min(values))}-{show(max(values))})" if len(values) > 1 else "")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(["| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rows)])


def base_habits(bench: Bench) -> str:
    """What the untaught models do with 200 questions about held-out people."""
    from workbench.town.make_base import SIZES, STEP_TOKENS
    from workbench.town.measure import chat_replies, held_out_questions

    lines = []
    for name, size in TOWN_MODELS.items():
        model, tokenizer = load(name)
        questions = held_out_questions()
        replies = chat_replies(model, tokenizer, questions)
        lines.append([size, f"{model.num_parameters():,}", f"{SIZES[size].steps * STEP_TOKENS / 1e6:.1f} M", f"{statistics.mean('?' in reply for reply in replies):.0%}",
                      str(len({reply.strip() for reply in replies})), f"{statistics.mean(bool(town.grade(q, r)) for q, r in zip(questions, replies, strict=True)):.1%}",
                      f"{completion(model, tokenizer, bench.folk):.0%}", f"{bench.text_loss(model, tokenizer):.2f}"])
    return table(["base model", "parameters", "tokens read", "asks back", "different replies", "right", "facts by completion", "loss on plain text"], lines)


def best_constant(rows: list[dict[str, Any]]) -> float:
    """Share right when every question gets the same reply, the best there is: any row's answer, or any word of one, such as a colour."""
    words = {word for row in rows for word in re.findall(r"\w+", row["answer"])}
    return max(statistics.mean(bool(town.grade(row["question"], reply)) for row in rows) for reply in {row["answer"] for row in rows} | words)


def methods(bench: Bench, seeds: Sequence[int]) -> str:
    """LoRA and full tuning, each at the best of its `RATES`, on the 1,000 instructions; what each forgets."""
    rows = town.rows("instructions")
    columns = {"base": [bench.measure(*load("town"), whole=True)]}
    for name, method in (("LoRA", LoRA(rank=RANK)), ("full", Full())):
        tried = {rate: [bench.taught(rows, seed, method, rate, whole=True) for seed in seeds] for rate in RATES[name]}
        best = max(tried, key=lambda rate: statistics.mean(m.chosen_by for m in tried[rate]))
        columns[f"{name}{f' rank {RANK}' if name == 'LoRA' else ''}, {best:g} (best of {', '.join(f'{rate:g}' for rate in tried)})"] = tried[best]
    lines = [["questions about held-out people", *(spread(m.facts for m in c) for c in columns.values()), ""]]
    for name, asked_rows in bench.tasks.items():
        lines.append([f"held-out task `{name}`", *(spread(m.tasks[name] for m in c) for c in columns.values()), f"{best_constant(asked_rows):.0%}"])
    lines.append(["seconds of training", "", *(spread((m.seconds for m in c), percent=False) for c in list(columns.values())[1:]), ""])
    lines.append(["loss on plain text", *(spread((m.text_loss for m in c), percent=False) for c in columns.values()), ""])
    lines.append(["facts by completion", *(spread(m.completion for m in c) for c in columns.values()), ""])
    return table(["", *columns, "best constant reply"], lines)


def amounts(bench: Bench, seeds: Sequence[int]) -> str:
    """How much of each thing helps: rows, tasks at equal rows, phrasings at equal rows, size of the model."""
    rows = town.rows("instructions")
    lines = []

    def line(what: str, amount: str, measured: list[Measured]) -> None:
        lines.append([what, amount, spread(m.facts for m in measured), spread(m.tasks[NEAREST] for m in measured),
                      spread(statistics.mean(m.tasks.values()) for m in measured)])

    for amount in AMOUNTS:
        line("instructions", str(amount), [bench.taught(random.Random(seed).sample(rows, amount), seed) for seed in seeds])
    for count in TASK_COUNTS:
        each = dict.fromkeys(TASK_ORDER[:count], ROWS // count)
        line(f"tasks, {ROWS} rows", f"{count}", [bench.taught(mixed(each, 30 + seed, asked()), seed) for seed in seeds])
    for count in PHRASINGS:
        each = dict.fromkeys(TASK_ORDER[:20], ROWS // 20)
        line(f"phrasings, {ROWS} rows", str(count), [bench.taught(mixed(each, 40 + seed, asked(), tuple(range(count))), seed) for seed in seeds])
    for name, size in TOWN_MODELS.items():
        line("model", size, [bench.taught(rows, seed, model=name) for seed in seeds])
    return table(["amount of", "", "held-out people", f"held-out task `{NEAREST}`", "all held-out tasks (mean)"], lines)


def news(bench: Bench, seeds: Sequence[int]) -> str:
    """Continued pretraining on the neighbouring village and on who moved in spring."""
    before = _after_news(*load("town"))
    after = []
    for seed in seeds:
        run, seconds = bench.train(town.rows("village"), seed, Full(), NEWS_RATE, objective="pretraining", steps=NEWS_STEPS, epochs=None)
        after.append(_after_news(*run.load()) | {"loss on plain text of the old town": bench.text_loss(*run.load())})
        bench.say(f"village, seed {seed}: {seconds:.0f} s")
    before["loss on plain text of the old town"] = bench.text_loss(*load("town"))
    return table(["facts by completion", "before", f"after {NEWS_STEPS} steps at {NEWS_RATE:g}"],
                 [[what, spread([before[what]], "loss" not in what), spread((a[what] for a in after), "loss" not in what)] for what in before])


def _after_news(model: Any, tokenizer: Any) -> dict[str, float]:
    moved = world().moved
    stayed = [person for person in people() if not person.moved_to]
    return {"the village's people": completion(model, tokenizer, village()), "who moved: the new home": completion(
        model, tokenizer, [person.after_spring() for person in moved], ["town"]), "who moved: the old home": completion(
        model, tokenizer, moved, ["town"]), "who moved: all else": completion(model, tokenizer, moved, [kind for kind in KINDS if kind != "town"]),
        "who stayed": completion(model, tokenizer, stayed)}


SECTIONS: dict[str, tuple[str, Callable[[Bench, Sequence[int]], str]]] = {
    "habits": ("What the base models do with a question, untaught", lambda bench, seeds: base_habits(bench)),
    "methods": ("1,000 instructions", methods),
    "amounts": ("How much of what", amounts),
    "news": ("New knowledge: continued pretraining", news),
}


def report(seeds: Sequence[int] = (0, 1, 2), sections: Sequence[str] = tuple(SECTIONS), say: Callable[[str], None] = lambda line: None) -> Iterable[str]:
    """The report's parts as Markdown, each as soon as it is measured. Trainings go to a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), say)
        for name in sections:
            title, make = SECTIONS[name]
            yield f"**{title}** ({len(seeds)} seeds)\n\n{make(bench, seeds)}\n"
