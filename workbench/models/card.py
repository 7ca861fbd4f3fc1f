"""The README.md of an exported model: what it is, how it was trained, what was measured, how to open it.

Everything a person, a file or a model wrote (names, notes, labels) is escaped, so it stays text on whatever page shows the card. Made of
plain values: what they are taken from is the exporter's business (`runs/export.py`).
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

_MARKS = re.compile(r"[\\`*_{}\[\]#|~$@]|:(?=//)|(?<=www)\.|^[-+=:]|^\d+(?=[.)](?:\s|$))", re.IGNORECASE)
"""What Markdown (GitHub's too) may take for more than a letter: marks anywhere, the beginnings of links, and what begins a list, a line or
a heading."""


def escaped(text: Any) -> str:
    """Text that Markdown and HTML show letter by letter, on one line."""
    words = " ".join(str(text).split())
    # a number at the beginning is escaped at the dot that would make it a list
    words = _MARKS.sub(lambda mark: f"{mark[0]}\\" if mark[0][0].isdigit() else f"\\{mark[0]}", words)
    for letter, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        words = words.replace(letter, entity)
    return words


@dataclass(slots=True, kw_only=True)
class Card:
    """What a card says. Strings may be anybody's; `numbers` are (name, value), `recipe` goes in as JSON."""

    title: str
    summary: str
    form: str
    """merged, adapter or gguf."""
    base: str = ""
    """Hub id of the model it was tuned from; "" where it has none."""
    task: str = "text-generation"
    labels: list[str] = field(default_factory=list)
    numbers: list[tuple[str, str]] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    """What was changed while the run went."""
    notes: list[str] = field(default_factory=list)
    recipe: dict[str, Any] | None = None
    packages: dict[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """The whole file."""
        head: dict[str, Any] = {
            "library_name": {"adapter": "peft", "gguf": "gguf"}.get(self.form, "transformers"),
            "pipeline_tag": self.task,
        }
        if self.base:
            head |= {"base_model": self.base, "base_model_relation": "adapter" if self.form == "adapter" else "finetune"}
        parts = [
            "---",
            yaml.safe_dump(head, sort_keys=True, allow_unicode=True).strip(),
            "---",
            "",
            f"# {escaped(self.title)}",
            "",
            escaped(self.summary),
            "",
        ]
        if self.labels:
            parts += ["It tells these labels: " + ", ".join(map(escaped, self.labels)) + ".", ""]
        parts += ["## Opening it", "", "```python", self._opening(), "```", ""]
        if self.numbers:
            parts += [
                "## Measured",
                "",
                "| | |",
                "|---|---|",
                *(f"| {escaped(name)} | {escaped(value)} |" for name, value in self.numbers),
                "",
            ]
        if self.changes:
            parts += ["## Changed while it trained", "", *(f"- {escaped(change)}" for change in self.changes), ""]
        if self.notes:
            parts += ["## Notes", "", *(f"- {escaped(note)}" for note in self.notes), ""]
        if self.recipe is not None:
            # no line of JSON begins with a fence, since a line break inside a string is written \n
            parts += ["## Recipe", "", "```json", json.dumps(self.recipe, indent=1, ensure_ascii=True, default=str), "```", ""]
        if self.packages:
            parts += [
                "Trained with " + ", ".join(f"{escaped(name)} {escaped(version)}" for name, version in self.packages.items()) + ".",
                "",
            ]
        return "\n".join(parts)

    def _opening(self) -> str:
        if self.form == "gguf":
            return '# llama.cpp:  llama-cli -m model.gguf -p "..."'
        kind = "ForSequenceClassification" if self.task == "text-classification" else "ForCausalLM"
        if self.form == "adapter":
            return "\n".join(
                [
                    "import workbench as wb",
                    "",
                    'model, tokenizer = wb.load("folder of this card")   # peft: PeftModel.from_pretrained(base, folder)',
                ]
            )
        return "\n".join(
            [
                f"from transformers import AutoModel{kind}, AutoTokenizer",
                "",
                f'model = AutoModel{kind}.from_pretrained("folder of this card")',
                'tokenizer = AutoTokenizer.from_pretrained("folder of this card")',
            ]
        )
