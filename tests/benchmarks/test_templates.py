"""Render, chat template, tokenize and mask, against trl's own preparation of the same rows on the same cores.

The bar: at least 1.5 times as fast, the same tokens and labels out, paired in one run (median of the ratios). Ours begins at the rows and
ends at the data set that training takes: `Task.examples`, then `training.rows.prepare`. trl's begins at conversations (or prompts and
completions) that are rendered already and ends at the data set its trainer takes: `SFTTrainer._prepare_dataset`, in one process and in as many as there
are cores, of which the faster counts. The order within a pair alternates. Both in a process of their own whose tokenizer may use threads.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BAR = 1.5
PAIRS = 7

SCRIPT = """import json, os, sys, time
from types import SimpleNamespace
import datasets, transformers
from trl import SFTConfig, SFTTrainer
import workbench as wb
from workbench import town
from workbench.templates.tasks import Task, Template
from workbench.training.rows import prepare
datasets.disable_progress_bars(); datasets.disable_caching(); transformers.logging.set_verbosity_error()
source, kind, count, pairs, folder = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
tokenizer = transformers.AutoTokenizer.from_pretrained(town.base_folder())
rows = wb.load_rows(source).to_pylist()
rows = (rows * (count // len(rows) + 1))[:count]
task = Task(name="quiz", templates=(Template(name="ask", input="{{ question }}", target="{{ answer }}"),))
chat = kind == "conversations"

def ours():
    made = task.examples(rows, chat=chat)
    return prepare(made.examples, tokenizer, objective="sft", completions_only=True, max_length=512, packing=False).rows

rendered = task.examples(rows, chat=chat).examples
table = datasets.Dataset.from_list(rendered)

def theirs(processes):
    arguments = SFTConfig(output_dir=folder, max_length=512, assistant_only_loss=chat, dataset_num_proc=processes, bf16=False, use_cpu=True,
                          report_to=[])
    trainer = SimpleNamespace(_tokenizer=tokenizer, chat_template=None, completion_only_loss=not chat)
    return SFTTrainer._prepare_dataset(trainer, table, tokenizer, arguments, False, None, "train")

def timed(call, *arguments):
    begun = time.perf_counter()
    made = call(*arguments)
    return time.perf_counter() - begun, made

(_, own), (_, other) = timed(ours), timed(theirs, None)
same = all(list(own[column]) == list(other[column]) for column in ("input_ids", "labels"))
several = min(timed(theirs, os.cpu_count())[0] for _ in range(2)) if os.cpu_count() > 1 else float("inf")
alone = min(timed(theirs, None)[0] for _ in range(2))
processes = None if alone <= several else os.cpu_count()
took = []
for pair in range(pairs):
    calls = [("ours", ours, ()), ("theirs", theirs, (processes,))]
    took.append({name: timed(call, *given)[0] for name, call, given in (calls if pair % 2 else calls[::-1])})
print(json.dumps({"same": same, "rows": len(own), "tokens": sum(map(len, own["input_ids"])), "took": took, "alone_s": alone,
                  "several_s": several, "processes": processes or 1}))"""


@pytest.mark.parametrize("kind", ["conversations", "prompts"])
@pytest.mark.parametrize("source", ["town:instructions", "gsm8k"])
def test_preparing_rows_against_trl(source, kind, tmp_path, report, request):
    path = source if source.startswith("town:") else str(request.getfixturevalue("real_data") / "gsm8k" / "train_2000.jsonl")
    command = [sys.executable, "-c", SCRIPT, path, kind, "2000", str(PAIRS), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"TOKENIZERS_PARALLELISM": "true"})
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.strip().splitlines()[-1])
    ours, theirs = ([pair[name] for pair in found["took"]] for name in ("ours", "theirs"))
    ratios = [other / own for own, other in zip(ours, theirs, strict=True)]
    report(rows=found["rows"], tokens=found["tokens"], ours_s=statistics.median(ours), trl_s=statistics.median(theirs),
           trl_processes=found["processes"], trl_one_process_s=found["alone_s"], trl_all_cores_s=found["several_s"],
           ratio=statistics.median(ratios), lowest=min(ratios), highest=max(ratios), same_tokens=str(found["same"]))
    assert found["same"], "not the same tokens"
    assert statistics.median(ratios) >= BAR
