"""Every panel on data, runs, models, votes and names that are the hostile strings, each on the road by which such text really comes: files of
rows, journals, folders of models, a preference store. Used by the fast checks and by the page in the browser.

`everything(folder)` makes the files in `folder` and gives the panels by name; one of them, `run list`, has all strings as names of runs.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import workbench as wb
from tests.hostile.strings import HALF, STRINGS, WORD, WORST, file_name
from tests.widgets.fakes import prepared, steps
from tests.widgets.policy_story import events as policy_events
from tests.widgets.policy_story import policy_run, recipe
from workbench.journal import events as ev
from workbench.recipes import Recipe
from workbench.training import gap_arrays
from workbench.training.writer import Journal

TEXTS = [text for text in STRINGS.values() if text.strip()]
KEPT = [text for text in TEXTS if "\0" not in text]
"""What a database keeps."""


def rows() -> list[dict]:
    """A row for each string, and one with a word that fills no line."""
    return [{"question": f"{text}?", "answer": f"{text} {n}", WORST: n} for n, text in enumerate([*TEXTS, WORD])]


def files(folder: Path) -> dict[str, Path]:
    """The rows as JSONL, CSV and Parquet, and a file whose columns are the strings."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    named = {kind: folder / (file_name(STRINGS[kind]) + end) for kind, end in (("img", ".jsonl"), ("script", ".csv"), ("override", ".parquet"), ("dollars", ".jsonl"))}
    named["img"].write_text("".join(json.dumps(row) + "\n" for row in rows()))
    with open(named["script"], "w", newline="") as file:
        table = csv.writer(file)
        table.writerows([["question", "answer", STRINGS["formula"]], *([text, text, n] for n, text in enumerate(KEPT))])
    pq.write_table(pa.Table.from_pylist(rows()), named["override"])
    columns = {text: text for text in TEXTS}
    named["dollars"].write_text("".join(json.dumps(columns | {"question": f"{n}?", "answer": f"{n}"}) + "\n" for n in range(12)))
    return named


def explorer(folder: Path) -> Any:
    from widgets import DataExplorer

    return DataExplorer(files(folder / "rows")["img"], test=[{"question": text, "answer": text} for text in TEXTS[:3]])


def columns(folder: Path) -> Any:
    from widgets import DataExplorer

    return DataExplorer(files(folder / "rows")["dollars"])


def balancer(folder: Path) -> Any:
    from widgets import DatasetBalancer

    sources = {text: [{"text": f"{text} {n}"} for n in range(2 + place % 5)] for place, text in enumerate(TEXTS)}
    sources["long"] = [{"text": WORD}]
    return DatasetBalancer(sources, model=lambda text: len(text.split()), tasks={WORST: TEXTS[:2]})


def builder(folder: Path) -> Any:
    from widgets import TemplateBuilder

    templates = [wb.Template(name=WORST, input="{{ question }} " + STRINGS["img"] + STRINGS["ansi"], target="{{ answer }}"),
                 *(wb.Template(name=text, input="{{ question }}", target="{{ answer }}") for text in KEPT)]
    task = wb.Task(name=WORST + HALF, system=STRINGS["script"] + STRINGS["override"], templates=tuple(templates))
    held = [{name: value[:400_000] if isinstance(value, str) else value for name, value in row.items()} for row in rows()]  # a template makes no more
    return TemplateBuilder(held, task, max_length=512)


def arena(folder: Path) -> Any:
    from widgets import PreferenceArena
    from workbench.alignment import PreferenceStore

    folder.mkdir(parents=True, exist_ok=True)
    store = PreferenceStore(folder / (file_name(STRINGS["img"]) + ".db"))
    names = [text[:200] for text in KEPT]
    for place, text in enumerate(KEPT):
        other = names[(place + 1) % len(names)]
        store.add(f"{text} {WORD if place == 0 else ''}", {names[place]: f"{text} says {place}", other: f"{other} {WORD if place == 0 else place}"})
    for place in range(3):
        for number in range(20):
            item = store.next(names[place], seed=number)
            store.judge(item, ("left", "right", "tie")[number % 3], names[place])
    return PreferenceArena(store, judge=names[0])


def _run(folder: Path, made: Recipe, *told: ev.Event, note: str = "", log: str = "") -> Path:
    """A run folder as a worker that is gone leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.json").write_text(json.dumps(made.to_json()))
    (folder / "worker.log").write_text(log)
    (folder / "note.txt").write_text(note)
    journal = Journal(folder)
    for event in told:
        journal.write(event)
    return folder


def runs(folder: Path) -> Path:
    """A folder of runs with a string for each name; the first of them is told of in every field of its journal, and failed."""
    root, made = folder / "runs", Recipe(steps=40, model="town-small", data="town:facts")
    for text in (*STRINGS.values(), HALF):
        name = file_name(text)
        _run(root / name, made, ev.Started(pid=2**30), prepared(40), *steps(1, 3), ev.Ended(step=3, status="stopped", reason=text), note="" if text == HALF else text)
    worst = root / file_name(WORST)
    said = [ev.Sampled(step=20, prompt=text, reply=f"{text} {WORD if n == 0 else ''}", verdict=text) for n, text in enumerate([*TEXTS, HALF])]
    changed = [ev.Changed(step=10 + n % 20, field=text, old=text, new=text, by=text) for n, text in enumerate(TEXTS)]
    mixed = dict(mixture={text: 1 / len(TEXTS) for text in TEXTS}, source_rows=dict.fromkeys(TEXTS, 9))
    metrics = {text: 1.0 for text in TEXTS} | {f"rows/{text}": 1.0 for text in TEXTS}
    _run(worst, made, ev.Queued(position=2, behind=TEXTS), ev.Started(pid=2**30, host=WORST, device=WORST, packages=dict.fromkeys(TEXTS, WORST)),
         prepared(40, dropped=dict.fromkeys(TEXTS, 2), notes=TEXTS, **mixed), *(replace(step, extra=metrics) for step in steps(1, 30)),
         ev.Evaluated(step=20, loss=1.9, extra=dict.fromkeys(TEXTS, 0.5)), *said, *changed, ev.Refused(step=30, command="x", reason=WORST),
         ev.Answered(step=30, command="y", result=WORST), ev.Ended(step=30, status="failed", reason=f"The row {WORST} {WORD} is no row.", remedy=WORST),
         note=WORST, log="\n".join(TEXTS) + "\n" + WORD)
    return worst


def monitor(folder: Path) -> Any:
    from widgets import RunMonitor

    worst = runs(folder)
    return RunMonitor(worst, overlays=tuple(sorted(str(one) for one in worst.parent.iterdir() if one != worst)[:4]))


def reward(folder: Path) -> Any:
    from widgets import RewardGap
    from workbench.data import sources
    from workbench.runs.start import prepare

    held = [{"prompt": f"{text}?", "chosen": f"{text} a{WORD if n == 0 else ''}", "rejected": f"{text} b", "kind": TEXTS[n % 7], WORST: text}
            for n, text in enumerate(TEXTS)]
    file = folder / f"{file_name(WORST)}.arrow"
    folder.mkdir(parents=True, exist_ok=True)
    sources.keep(sources.load_rows(held), file)
    train = [{"prompt": f"Who {n}?", "chosen": "Mira does.", "rejected": "I do."} for n in range(20)]
    run = prepare(wb.Recipe(model="town-small", data=train, objective="reward", heldout=str(file), steps=20), folder / "rewarded", "odd")
    journal, draw = Journal(run), np.random.default_rng(0)
    journal.write(ev.Started(pid=2**30))
    journal.write(prepared(20))
    for step in range(1, 21):
        journal.write(ev.Step(step=step, loss=0.6, extra={"accuracy": 0.6, "gap": 0.2} | {f"reward/{text}": 1.0 for text in TEXTS}))
    for step in (10, 20):
        made = [gap_arrays.PairRewards(np.arange(count), np.zeros(count, int), np.ones(count, int), *draw.normal(size=(2, count, len(KEPT[:4]))), tuple(KEPT[:4]))
                for count in (len(held), len(train))]
        journal.write(ev.Evaluated(step=step, loss=0.6, extra={"accuracy": 0.6}))
        journal.write(gap_arrays.save(run, step, *made))
    journal.write(ev.Ended(step=20, status="finished"))
    panel = RewardGap(run)
    panel.actions.by("kind")
    return panel


def kl(folder: Path) -> Any:
    from widgets import KLMonitor

    made = Recipe(model="town-small", objective=recipe().settings.__class__(rewards={text: "runs/x" for text in TEXTS}, beta=0.1), steps=160)
    changes = [ev.Changed(step=40 + n, field=text, old=text, new=text, by=text) for n, text in enumerate(TEXTS)]
    told = list(policy_events(160, words=WORST))
    for event in told:
        if isinstance(event, ev.Replied):
            event.rewards = {text: 0.5 for text in TEXTS}
            event.tokens = [*event.tokens, *TEXTS, WORD]
            event.logp, event.logp_reference = ([-1.0] * len(event.tokens), [-2.0] * len(event.tokens))
        if isinstance(event, ev.Step):
            event.extra |= {f"reward/{text}": 0.1 for text in TEXTS}
    root = folder / "policies" / file_name(WORST)
    return KLMonitor(policy_run(root, *told, *changes, made=made))


def ranks(folder: Path) -> Any:
    import torch
    from safetensors.torch import save_file

    from widgets import RankExplorer

    adapter, draw = folder / "adapters" / file_name(WORST), torch.Generator().manual_seed(0)
    adapter.mkdir(parents=True)
    modules = [text.replace(".", " ") for text in TEXTS]
    names = [f"base_model.model.model.layers.{layer}.{module}.lora_{part}.weight" for layer in range(2) for module in modules for part in "AB"]
    save_file({name: torch.randn(*((4, 16) if name.endswith("A.weight") else (16, 4)), generator=draw) for name in names}, adapter / "adapter_model.safetensors")
    (adapter / "adapter_config.json").write_text(json.dumps(
        dict(peft_type="LORA", r=4, lora_alpha=8, base_model_name_or_path=WORST, target_modules=modules, task_type=WORST)))
    return RankExplorer(adapter)


def tensors() -> dict:
    import torch

    draw = torch.Generator().manual_seed(0)
    held = {f"model.layers.{n % 3}.{text}": torch.randn(16, 64, generator=draw) for n, text in enumerate(TEXTS)}
    return held | {text: torch.randn(16, 64, generator=draw) for text in TEXTS} | {f"broken {WORST}": torch.full((16, 64), float("nan"))}


def quantized(folder: Path) -> Any:
    from safetensors.torch import save_file

    from widgets import QuantizationViewer
    from widgets.quantization_viewer.state import State

    path = folder / "models" / file_name(WORST)
    path.mkdir(parents=True)
    held = tensors()
    save_file(held, path / "model.safetensors")
    return QuantizationViewer(path, state=State(model=str(path), layer=next(name for name in held if STRINGS["img"] in name)))


def chooser(folder: Path) -> Any:
    import transformers

    from widgets import MethodChooser

    path = folder / "models" / f"{file_name(WORST)} small"
    config = transformers.Qwen2Config(vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1)
    config.architectures = ["Qwen2ForCausalLM"]
    config.save_pretrained(path)
    held = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(held | {"_name_or_path": WORST, "author": WORST}))
    return MethodChooser(path, [wb.Full(), wb.LoRA(rank=2, target_modules=tuple(TEXTS[:3]))])


MADE: dict[str, Callable[[Path], Any]] = {
    "explorer": explorer, "columns": columns, "balancer": balancer, "builder": builder, "arena": arena, "monitor": monitor,
    "reward": reward, "kl": kl, "ranks": ranks, "quantized": quantized, "chooser": chooser}


def everything(folder: str | Path) -> dict[str, Any]:
    """Every panel, by name, its files in `folder`."""
    return {name: make(Path(folder)) for name, make in MADE.items()}
