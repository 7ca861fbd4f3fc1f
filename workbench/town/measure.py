"""Measures a base model of the town and words its model card: which facts it knows by completion, and what it does with a question, untaught.

    python -m workbench.town.measure FOLDER

It reads the folder as a user would, greedily. What fine-tuning teaches is measured by `python -m workbench town report`.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from workbench.town.phrases import ANSWERS, SAYINGS, ask
from workbench.town.tasks import HELD_OUT, grade
from workbench.town.world import KINDS, Person, asked, held_out

PROMPTS = 200
"""Questions about held-out people put to the untaught model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """What made the weights, for the card."""

    size: str
    parameters: int
    corpus_tokens: int
    steps: int
    seed: int
    minutes: int
    tokens_per_s: int
    """Tokens a second of the training loop, on the machine it ran on."""
    held_out_loss: float
    """Nats a token on documents outside the corpus."""
    threads: int
    compiled: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """Shares between 0 and 1, and some replies of the untaught base."""

    completion: dict[str, dict[str, float]]
    """Half ("asked", "held out", "rare") to kind to the share of people whose fact greedy completion of a statement gives."""
    right: float
    """Share of held-out questions the base answers exactly through the chat template."""
    asks: float
    """Share of held-out questions to which the base's reply is another question."""
    replies: tuple[str, ...]


@torch.no_grad()
def generate(model, tokenizer, prompts: list[str], max_new_tokens: int = 24) -> list[str]:
    """Greedy continuations, without special tokens, of prompts that are padded on the left and run together."""
    replies = []
    for start in range(0, len(prompts), 120):
        batch = tokenizer(prompts[start:start + 120], return_tensors="pt", padding=True, padding_side="left").to(model.device)
        out = model.generate(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], do_sample=False, max_new_tokens=max_new_tokens)
        replies += tokenizer.batch_decode(out[:, batch["input_ids"].shape[1]:], skip_special_tokens=True)
    return replies


def completes(model, tokenizer, people: list[Person], kind: str) -> float:
    """Share of people whose fact the model gives when the way of saying it that ends with the value breaks off before it."""
    field = "{noun}" if kind == "trade" else "{" + kind + "}"
    opening = SAYINGS[kind][ANSWERS[kind]].split(" " + field)[0]
    replies = generate(model, tokenizer, [opening.format(name=person.name) for person in people], max_new_tokens=8)
    return sum(reply.strip().startswith(person.value(kind)) for reply, person in zip(replies, people, strict=True)) / len(people)


def chat_replies(model, tokenizer, questions: list[str], max_new_tokens: int = 24) -> list[str]:
    """Greedy replies through the chat template."""
    prompts = [tokenizer.apply_chat_template([{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True) for question in questions]
    return generate(model, tokenizer, prompts, max_new_tokens)


def held_out_questions(count: int = PROMPTS) -> list[str]:
    """Questions about held-out people, every kind that is no held-out task in turn, the phrasings in turn."""
    people, kinds = held_out(), tuple(kind for kind in KINDS if kind not in HELD_OUT)
    return [ask(people[number % len(people)], kinds[number % len(kinds)], number % 4) for number in range(count)]


def measure(folder: Path) -> Figures:
    """Reads the folder and measures; less than a minute on two cores."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    groups = {"asked": asked(), "held out": held_out(), "rare": [person for person in (*asked(), *held_out()) if person.rare]}
    completion = {name: {kind: completes(model, tokenizer, list(people), kind) for kind in KINDS} for name, people in groups.items()}
    questions = held_out_questions()
    replies = chat_replies(model, tokenizer, questions)
    return Figures(completion=completion, right=sum(map(bool, map(grade, questions, replies))) / len(questions),
                   asks=sum("?" in reply for reply in replies) / len(questions),
                   replies=tuple(f"{question} -> {reply.strip()}" for question, reply in zip(questions[:3], replies, strict=False)))


def card(figures: Figures, recipe: Recipe | None = None) -> str:
    """The model card as Markdown; without a recipe only the measured figures."""
    lines = []
    if recipe:
        lines += [
            f"# The town's base model, {recipe.size}", "",
            f"A Qwen2 of {recipe.parameters:,} parameters (tied embeddings, byte-level BPE of 2,048, 512 positions), pretrained on the generated town and nothing "
            "else. It knows the town's people and ten facts about each; it has not been taught to answer. Made by", "",
            f"    python -m workbench.town.make_base --size {recipe.size} --out workbench/town/base/{recipe.size} --seed {recipe.seed} --steps {recipe.steps} "
            f"--threads {recipe.threads}{' --compile' if recipe.compiled else ''}", "",
            f"on {recipe.corpus_tokens:,} tokens of text, {recipe.steps:,} steps of 4,096 tokens (three of 32x128, then one of 8x512), AdamW with peak rate 3e-3, "
            f"cosine, weight decay 0.1, bf16 autocast; {recipe.minutes} minutes at {recipe.tokens_per_s:,} tokens/s on {recipe.threads} of two CPU cores, which did other work too. "
            f"Loss on documents outside the corpus, of the weights as they are here: {recipe.held_out_loss:.3f} nats a token.", ""]
    lines += ["## Measured (greedy, weights read as fp32)", "", "Completion of a statement (\"The pet of {name} is a\"), share of people whose fact comes out:", "",
              "| people | " + " | ".join(KINDS) + " |", "|---" * (len(KINDS) + 1) + "|"]
    lines += [f"| {group} | " + " | ".join(f"{shares[kind]:.0%}" for kind in KINDS) + " |" for group, shares in figures.completion.items()]
    lines += ["", f"{PROMPTS} questions about held-out people through the chat template, untaught: {figures.right:.1%} right; "
              f"{figures.asks:.0%} of the replies are questions themselves:", "", *(f"- {reply}" for reply in figures.replies), ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(card(measure(arguments.folder)))


if __name__ == "__main__":
    main()
