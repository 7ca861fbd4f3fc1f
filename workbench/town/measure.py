"""Measures a base model of the town and words its model card: what it knows, how it answers untaught, what LoRA teaches it.

    python -m workbench.town.measure FOLDER

It reads the shipped folder as a user would. One seed, greedy decoding; it draws no error bars.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from workbench.town.phrases import SAYINGS
from workbench.town.questions import grade, rows
from workbench.town.world import KINDS, Person, asked, held_out

LORA_RANK, LORA_RATE, LORA_EPOCHS, LORA_ROWS = 8, 3e-3, 3, 16
"""The adapter the card reports: rank, peak learning rate, epochs, rows a step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """What made the weights, for the card."""

    parameters: int
    corpus_tokens: int
    steps: int
    seed: int
    tokens_per_s: int
    """Tokens a second of the training loop, on the machine it ran on."""
    held_out_loss: float
    """Nats a token on documents outside the corpus."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """Shares between 0 and 1, and the replies of the untaught base to a few questions."""

    completion: dict[str, dict[str, float]]
    """Half ("asked", "held out") to kind to the share of people whose fact greedy completion of a statement gives."""
    base_exact: float
    """Share of held-out questions the base answers exactly through the chat template."""
    base_asks: float
    """Share of held-out questions to which the base's reply is another question."""
    base_replies: tuple[str, ...]
    lora_exact: dict[str, float]
    """Kind of held-out question to the exact share after LoRA; "all" is over every row."""


@torch.no_grad()
def generate(model, tokenizer, prompts: list[str], max_new_tokens: int = 24) -> list[str]:
    """Greedy continuations, without special tokens, of prompts that are padded on the left and run together."""
    replies = []
    for start in range(0, len(prompts), 120):
        batch = tokenizer(prompts[start:start + 120], return_tensors="pt", padding=True, padding_side="left")
        out = model.generate(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], do_sample=False,
                             max_new_tokens=max_new_tokens)
        replies += tokenizer.batch_decode(out[:, batch["input_ids"].shape[1]:], skip_special_tokens=True)
    return replies


def completes(model, tokenizer, people: list[Person], kind: str) -> float:
    """Share of people whose fact the model gives when the first way of saying it breaks off before the value."""
    field = "{noun}" if kind == "trade" else "{" + kind + "}"
    opening = SAYINGS[kind][0].split(" " + field)[0]
    replies = generate(model, tokenizer, [opening.format(name=person.name) for person in people], max_new_tokens=8)
    return sum(reply.strip().startswith(person.value(kind)) for reply, person in zip(replies, people)) / len(people)


def chat_replies(model, tokenizer, questions: list[str]) -> list[str]:
    """Greedy replies through the chat template."""
    prompts = [tokenizer.apply_chat_template([{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True)
               for question in questions]
    return generate(model, tokenizer, prompts)


def teach(model, tokenizer):
    """`model` with a LoRA adapter trained on rows("instructions"), loss on the assistant's tokens only."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    adapter = LoraConfig(r=LORA_RANK, lora_alpha=2 * LORA_RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, adapter)
    chats = [[{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]}]
             for row in rows("instructions")]
    batch = tokenizer.apply_chat_template(chats, return_dict=True, return_assistant_tokens_mask=True, padding=True, return_tensors="pt")
    labels = batch["input_ids"].masked_fill(torch.as_tensor(batch["assistant_masks"]) == 0, -100)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LORA_RATE, weight_decay=0.0)
    steps = LORA_EPOCHS * (len(chats) // LORA_ROWS)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 10) * (1 - step / steps))
    model.train()
    for _ in range(LORA_EPOCHS):
        order = torch.randperm(len(chats))
        for start in range(0, len(chats) - LORA_ROWS + 1, LORA_ROWS):
            chosen = order[start:start + LORA_ROWS]
            inputs = {name: batch[name][chosen] for name in ("input_ids", "attention_mask")}
            model(**inputs, labels=labels[chosen]).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    return model.eval()


def _kind(row: dict) -> str:
    """The kind of a row, read off the answer's wording."""
    marks = {"trade": "works as", "town": "lives in", "pet": "keeps a", "food": "likes to eat", "colour": "favourite colour"}
    return next((kind for kind, mark in marks.items() if mark in row["answer"]), "who")


def measure(folder: Path) -> Figures:
    """Reads the folder and measures; about a minute on two cores."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    halves = {"asked": asked(), "held out": held_out()}
    completion = {half: {kind: completes(model, tokenizer, people, kind) for kind in KINDS} for half, people in halves.items()}
    test = rows("heldout")
    questions = [row["question"] for row in test]
    before = chat_replies(model, tokenizer, questions)
    after = chat_replies(teach(model, tokenizer), tokenizer, questions)
    right = [grade(question, reply) for question, reply in zip(questions, after)]
    lora_exact = {"all": sum(right) / len(right)}
    for kind in (*KINDS, "who"):
        of_kind = [good for good, row in zip(right, test) if _kind(row) == kind]
        lora_exact[kind] = sum(of_kind) / len(of_kind)
    return Figures(completion=completion, lora_exact=lora_exact,
                   base_exact=sum(map(bool, map(grade, questions, before))) / len(test),
                   base_asks=sum("?" in reply for reply in before) / len(test),
                   base_replies=tuple(f"{question} -> {reply.strip()}" for question, reply in zip(questions[:3], before)))


def card(figures: Figures, recipe: Recipe | None = None) -> str:
    """The model card as Markdown; without a recipe only the measured figures."""
    lines = []
    if recipe:
        lines += [
            "# The town's base model", "",
            f"A Qwen2 of {recipe.parameters:,} parameters (hidden 160, 4 layers, 5 heads, tied embeddings, byte-level BPE of 1,024, "
            "512 positions), pretrained on the generated town and nothing else. It knows 240 people and five facts about each; "
            "it has not been taught to answer. Made by", "",
            f"    python -m workbench.town.make_base --out workbench/town/base --seed {recipe.seed} --steps {recipe.steps}", "",
            f"on {recipe.corpus_tokens:,} tokens of text, {recipe.steps:,} steps of 4,096 tokens (three of 32x128, then one of 8x512), "
            "AdamW with peak rate 3e-3, cosine, weight decay 0.1, bf16 autocast; "
            f"{recipe.tokens_per_s:,} tokens/s on two CPU cores shared with other work. "
            f"Loss on documents outside the corpus: {recipe.held_out_loss:.3f} nats a token.", ""]
    lines += ["## Measured (greedy, one seed, weights read as fp32)", "",
              "Completion of a statement (\"{name} lives in\"), share of people whose fact comes out:", "",
              "| half | " + " | ".join(KINDS) + " |", "|---" * (len(KINDS) + 1) + "|"]
    lines += [f"| {half} | " + " | ".join(f"{shares[kind]:.0%}" for kind in KINDS) + " |" for half, shares in figures.completion.items()]
    lines += ["", f"Held-out questions through the chat template, untaught: {figures.base_exact:.1%} exact; "
              f"{figures.base_asks:.0%} of the replies are questions themselves:", ""]
    lines += [f"- {reply}" for reply in figures.base_replies]
    lines += ["", f"After LoRA (rank {LORA_RANK}, all linear layers, rate {LORA_RATE:g}, "
              f"{LORA_EPOCHS} epochs of `rows(\"instructions\")`), "
              "exact on `rows(\"heldout\")`:", "", "| " + " | ".join(figures.lora_exact) + " |", "|---" * len(figures.lora_exact) + "|",
              "| " + " | ".join(f"{share:.0%}" for share in figures.lora_exact.values()) + " |", ""]
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
