"""A run from start to result: what it says, live control, probes, the queue, early stopping and the best checkpoint, and Trainer folders read only.

Processes are real; what needs none trains in this process (`tools.here`). Kills, full disks and the like are in `tests/faults`.
"""

from __future__ import annotations

import json
import os

import pytest
import torch

import workbench as wb
from tests.runs import tools
from workbench.data.sources import content_hash, load_rows
from workbench.journal import commands as cmd
from workbench.recipes import schedule_shape
from workbench.training.rows import Collator

pytestmark = pytest.mark.usefixtures("warm")


@pytest.fixture(scope="module")
def plain(real_data, tmp_path_factory):
    """24 steps without any interference, in this process."""
    return tools.here(tools.recipe(real_data, steps=24), tmp_path_factory.mktemp("plain"), "plain")


@pytest.fixture(scope="module")
def steered(real_data, tmp_path_factory):
    """The same recipe in a worker: paused, probed, stepped, changed, resumed. `(run, what was seen)`."""
    runs, seen = tmp_path_factory.mktemp("steered"), {}
    run = wb.start(tools.recipe(real_data, steps=24), runs=runs, name="steered")
    seen["status at once"], seen["pid"] = str(run.status), run.pid
    run.pause(at_step=7)
    run.set(learning_rate=1e-3, at_step=15)
    run.set(evaluate_every=4, at_step=16)
    run.wait(60, until="paused")
    seen["paused at"], seen["pid while paused"] = run.history.step, run.pid
    seen["reply"] = run.generate("What did the red cat see?", max_new_tokens=12)
    seen["sampled"] = [run.generate("What did the red cat see?", 12, temperature=1.0, seed=seed) for seed in (1, 1, 2)]
    seen["next"] = run.next_tokens("What did the red cat see?", k=5)
    seen["losses"] = run.losses(tools.rows(3, seed=9) + [{"question": "Why?", "answer": ""}])
    with pytest.raises(wb.RunError) as caught:
        run.losses([{"frage": "?"}])
    seen["bad rows"] = str(caught.value)
    with pytest.raises(wb.RunError) as caught:
        run._ask("levitate", 60)
    seen["bad probe"] = str(caught.value)
    run.step(2)
    tools.until(lambda: run.status == "paused" and run.history.step == 9, what="two steps")
    other = wb.attach(run.folder)
    seen["second reader"] = (str(other.status), other.history.step, other.generate("What did the red cat see?", max_new_tokens=12))
    with open(run.folder / "commands.jsonl", "ab") as file:  # another program's nonsense
        file.write(b'not json\n{"command":"set","values":{"learning_rate":"x"},"id":"odd"}\n{"command":"take_steps","count":"x"}\n')
    tools.until(lambda: run.history.refresh() is not None and "odd" in run.history.answers, what="the refusal")
    run.resume()
    run.wait(60)
    return run, seen


def test_a_run_goes_from_starting_to_finished(steered):
    run, seen = steered
    assert seen["status at once"] == "starting" and seen["pid"] == run.history.started.pid == seen["pid while paused"]
    assert run.status == "finished" and "step 24 of 24" in run.status.sentence
    tools.until(lambda: run.pid is None, what="the end of the process")
    frame = run.metrics()
    assert list(frame["step"]) == list(range(1, 25)) and frame["loss"].notna().all() and frame["loss"].iloc[-4:].mean() < frame["loss"].iloc[:4].mean()
    for column in ("learning_rate", "grad_norm", "epoch", "tokens", "tokens_per_s", "memory_gib", "time"):
        assert frame[column].notna().all() and (frame[column] >= 0).all(), column
    assert 0.1 < frame["memory_gib"].iloc[-1] < 8 and frame["time"].is_monotonic_increasing and (frame["tokens_per_s"] > 10).all()
    assert run.recipe.data == str(run.folder / "data" / "rows.arrow") and len(run.recipe.data_hash) == 64
    assert content_hash(load_rows(run.recipe.data)) == run.recipe.data_hash, "the recipe can be started again"


def test_losses_are_the_same_as_without_pause_probes_steps_or_sampling_until_the_change(plain, steered):
    run, _ = steered
    assert tools.losses(run)[:16] == tools.losses(plain)[:16], "the rate changed after step 15 acts on the weights that step 17 sees"
    assert tools.losses(run)[16:] != tools.losses(plain)[16:]


def test_a_changed_rate_is_the_peak_and_the_shape_goes_on(steered, plain):
    run, _ = steered
    peak = [5e-3] * 15 + [1e-3] * 9
    expected = [p * schedule_shape(run.recipe, step, 24) for step, p in enumerate(peak)]
    assert list(run.metrics()["learning_rate"]) == pytest.approx(expected, rel=1e-9)
    assert list(plain.metrics()["learning_rate"])[:15] == list(run.metrics()["learning_rate"])[:15]


def test_changes_are_echoed_with_their_step_and_evaluations_follow(steered, plain):
    run, _ = steered
    assert [(c.step, c.field, c.old, c.new) for c in run.history.changes] == [(15, "learning_rate", 5e-3, 1e-3), (16, "evaluate_every", 6, 4)]
    assert all(c.by and c.command for c in run.history.changes)
    assert [e.step for e in plain.history.evaluations] == [6, 12, 18, 24] and [e.step for e in run.history.evaluations] == [6, 12, 20, 24]
    assert run.history.evaluations[0].loss == plain.history.evaluations[0].loss


def test_answers_come_from_the_weights_at_the_pause(steered, plain, real_data, tmp_path):
    """Computed again from a run of seven steps: its result is the model as it was at the pause (the schedule's length is the same)."""
    run, seen = steered
    assert seen["paused at"] == 7
    from workbench.runs.start import prepare

    folder = prepare(tools.recipe(real_data, steps=24), tmp_path, "seven")
    cmd.send(folder, cmd.Stop(at_step=7))
    assert tools.train_here(folder) == "stopped"
    model, tokenizer = wb.attach(folder).load()
    ids = tokenizer.apply_chat_template([{"role": "user", "content": "What did the red cat see?"}], add_generation_prompt=True, return_dict=True, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        own = ids
        for _ in range(12):
            own = torch.cat([own, model(own).logits[:, -1].argmax(-1, keepdim=True)], 1)
            if own[0, -1] == tokenizer.eos_token_id:
                break
        probabilities = torch.softmax(model(ids).logits[0, -1], -1)
    assert seen["reply"] == tokenizer.decode(own[0, ids.shape[1]:], skip_special_tokens=True).strip() and seen["reply"]
    assert seen["next"]["probability"].tolist() == pytest.approx(probabilities.topk(5).values.tolist(), abs=1e-6)
    assert seen["next"]["token"].tolist() == [tokenizer.decode([t]) for t in probabilities.topk(5).indices.tolist()]
    for row, loss in zip(tools.rows(3, seed=9), seen["losses"], strict=False):
        head = f"User: {row['question']}\nAssistant:"
        tokens = tokenizer(head + f" {row['answer']}" + tokenizer.eos_token, return_tensors="pt", return_offsets_mapping=True)
        answered = tokens["offset_mapping"][0, 1:, 1] > len(head)
        with torch.no_grad():
            each = torch.nn.functional.cross_entropy(model(tokens["input_ids"]).logits[0, :-1], tokens["input_ids"][0, 1:], reduction="none")
        assert loss == pytest.approx(each[answered].mean().item(), abs=1e-5)
    assert seen["losses"][3] is None and len(seen["losses"]) == 4


def test_probes_answer_bad_questions_with_a_sentence_and_sampling_by_seed(steered):
    _, seen = steered
    assert "'frage'" in seen["bad rows"] and "levitate" in seen["bad probe"]
    assert seen["sampled"][0] == seen["sampled"][1] != seen["sampled"][2]


def test_single_steps_and_a_second_reader(steered):
    run, seen = steered
    assert seen["second reader"][:2] == ("paused", 9) and seen["second reader"][2]
    assert wb.attach(run.folder).metrics().equals(run.metrics())


def test_nonsense_in_the_command_file_is_refused_and_the_run_goes_on(steered):
    run, _ = steered
    assert [r.command for r in run.history.refusals] == ["odd"] and "learning_rate cannot be 'x'" in run.history.refusals[0].reason


def test_the_ended_run_answers_from_its_result_and_refuses_control(steered):
    run, _ = steered
    assert run.generate("What did the red cat see?", max_new_tokens=8)
    for ask in (lambda: run.set(learning_rate=1e-3), run.pause, run.stop, run.step):
        with pytest.raises(wb.RunError, match="not running"):
            ask()
    with pytest.raises(wb.RunError, match="has finished"):
        run.resume()


def test_refused_changes_raise_before_anything_is_written(steered):
    run, _ = steered
    before = tools.hashes(run.folder)
    for ask in (lambda: run.set(rank=4), lambda: run.set(), lambda: run.set(learning_rate=float("nan")), lambda: run.set(learning_rate=1e-3, at_step="5"),
                lambda: run.step(0), lambda: run.step("two"), lambda: run.pause(at_step=-1)):
        with pytest.raises(wb.WorkbenchError):
            ask()
    assert tools.hashes(run.folder) == before


def test_the_result_is_an_adapter_that_loads_elsewhere_and_does_what_training_did(steered, real_data):
    run, _ = steered
    files = {p.name for p in (run.folder / "result").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= files and not any(f.endswith((".bin", ".pt", ".pth")) for f in files)
    import peft
    import transformers

    base = transformers.AutoModelForCausalLM.from_pretrained(real_data / "stories260k")
    theirs = peft.PeftModel.from_pretrained(base, run.folder / "result").eval()
    model, tokenizer = run.load()
    ids = tokenizer("Once upon a time", return_tensors="pt").input_ids
    with torch.no_grad():
        assert torch.equal(theirs(ids).logits, model(ids).logits)


def test_the_held_out_loss_is_that_of_the_result(plain):
    """The last evaluation, again: from the saved adapter, on the rows kept in the folder."""
    from workbench.data import layouts, sources
    from workbench.training.rows import prepare

    model, tokenizer = plain.load()
    table = sources.kept(plain.folder / "data" / "heldout.arrow").to_pylist()
    out = prepare(layouts.examples(table, list(table[0])), tokenizer, objective="sft", completions_only=True, max_length=128, packing=False)
    batch = Collator(tokenizer.pad_token_id)(list(out.rows))
    with torch.no_grad():
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    by_hand = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten()).item()
    assert plain.history.evaluations[-1].step == 24 and plain.history.evaluations[-1].loss == pytest.approx(by_hand, abs=1e-5)
    assert plain.metrics()["heldout_loss"].dropna().tolist() == [e.loss for e in plain.history.evaluations]


def test_a_run_is_whole_in_its_folder_and_listed(steered, plain):
    run, _ = steered
    run.note = "a <b>note</b>"
    table = wb.list_runs(run.folder.parent)
    assert len(table) == 1 and table["name"][0] == run.name and table["status"][0] == "finished" and table["step"][0] == 24 and table["note"][0] == "a <b>note</b>"
    assert table["heldout_loss"][0] == run.history.evaluations[-1].loss and abs(table["started"][0].timestamp() - run.history.began) < 1
    assert wb.list_runs(run.folder / "nowhere").empty and list(wb.list_runs(run.folder / "nowhere").columns) == list(table.columns)
    from workbench.data import sources

    kept = [row for part in ("train", "heldout") for row in sources.kept(run.folder / "data" / f"{part}.arrow").to_pylist()]
    assert sorted(map(str, kept)) == sorted(map(str, tools.rows(80))) and not list(run.folder.glob("checkpoints/checkpoint-*"))
    assert not (run.folder / ".reserve").exists()


def test_checkpoints_are_the_last_few(plain):
    assert sorted(p.name for p in (plain.folder / "checkpoints").iterdir()) == [f"step-{n:06d}" for n in (12, 16, 20, 24)]
    assert [c.step for c in plain.history.checkpoints] == [4, 8, 12, 16, 20, 24]


def overfitting(real_data, **fields):
    """A rate so high that the held-out loss rises soon."""
    return tools.recipe(real_data, **(dict(data=tools.rows(40), steps=24, learning_rate=0.1, evaluate_every=2, checkpoint_every=5, warmup_steps=3, schedule="constant",
                                           keep_checkpoints=1, sample_prompts=0) | fields))


def test_early_stopping_stops_after_so_many_evaluations_without_a_new_best(real_data, tmp_path):
    run = tools.here(overfitting(real_data, early_stopping=3), tmp_path)
    values = [e.loss for e in run.history.evaluations]
    best = values.index(min(values))
    assert run.status == "finished" and len(values) == best + 4 and run.history.step == 2 * len(values) < 24
    assert "Stopped early" in run.status.sentence and [e.best for e in run.history.evaluations].count(True) >= 1


def test_the_best_checkpoints_weights_are_the_result_also_after_a_resume(real_data, tmp_path):
    from safetensors.torch import load_file

    from workbench.runs.start import prepare

    folder = prepare(overfitting(real_data, keep_best=True, early_stopping=3), tmp_path, "best")
    whole = tools.here(overfitting(real_data, keep_best=True, early_stopping=3), tmp_path, "whole")
    best = whole.history.best
    assert whole.history.step > best.step and f"step {best.step}" in whole.status.sentence
    weights = load_file(whole.folder / "result" / "adapter_model.safetensors")
    kept = load_file(whole.folder / "checkpoints" / f"step-{best.step:06d}" / "adapter_model.safetensors")
    assert all(torch.equal(weights[name], kept[name]) for name in kept) and weights.keys() == kept.keys()
    assert len(list((whole.folder / "checkpoints").iterdir())) <= 2, "the last one and the best one"
    cmd.send(folder, cmd.Stop(at_step=best.step + 2))
    assert tools.train_here(folder) == "stopped"
    (folder / "worker.json").write_text(json.dumps({"pid": 0, "created": 0.0, "asked": 2e9 * 2}))  # what a resume notes: older commands are done with
    assert tools.train_here(folder) == "finished"
    resumed = wb.attach(folder)
    assert resumed.metrics()["loss"].equals(whole.metrics()["loss"])
    assert [(e.step, e.loss, e.best) for e in resumed.history.evaluations] == [(e.step, e.loss, e.best) for e in whole.history.evaluations]
    again = load_file(folder / "result" / "adapter_model.safetensors")
    assert all(torch.equal(weights[name], again[name]) for name in weights) and resumed.history.resumptions == [best.step + 2]


def test_epochs_warm_up_and_passed_through_arguments(real_data, tmp_path):
    run = tools.here(tools.recipe(real_data, steps=None, epochs=2, batch_size=8, warmup_steps=5, schedule="linear", evaluate_every=None, checkpoint_every=None,
                                  training_arguments={"neftune_noise_alpha": None, "dataloader_drop_last": True, "label_smoothing_factor": 0.0}), tmp_path)
    assert run.status == "finished" and len(tools.losses(run)) == run.history.steps == 18 and run.metrics()["epoch"].iloc[-1] == pytest.approx(2)  # 72 rows: 9 a time
    assert list(run.metrics()["learning_rate"][:6]) == pytest.approx([5e-3 * n / 5 for n in range(6)])
    arguments = torch.load(run.folder / "checkpoints" / "step-000018" / "training_args.bin", weights_only=False)
    assert arguments.dataloader_drop_last is True and arguments.warmup_steps == 5


def test_arguments_transformers_does_not_know_fail_with_its_words(real_data, tmp_path):
    from workbench.runs.start import prepare

    folder = prepare(tools.recipe(real_data, training_arguments={"warp_speed": 9}), tmp_path, "odd")
    with pytest.raises(wb.RecipeError, match="warp_speed"):
        tools.train_here(folder)


def test_runs_started_together_take_turns_and_say_behind_whom(real_data, tmp_path):
    """The second waits for the first, the third is freed when the second is killed in front of it, and a queued one can be stopped."""
    first = wb.start(tools.recipe(real_data), runs=tmp_path, name="first")
    first.pause(at_step=2)
    first.wait(60, until="paused")
    second, third, fourth = (wb.start(tools.recipe(real_data, steps=4), runs=tmp_path, name=name) for name in ("second", "third", "fourth"))
    for run in (second, third, fourth):
        run.wait(60, until="queued")
    assert second.status == "queued" and first.name in second.status.sentence
    tools.until(lambda: third.status.sentence.count(",") == 1 or second.name in third.status.sentence, what="the third behind the second")
    fourth.stop()
    assert fourth.wait(60) == "stopped" and fourth.history.step == 0
    os.kill(second.pid, 9)
    assert second.wait(60) == "died"
    first.resume()
    assert first.wait(60) == "finished" and third.wait(60) == "finished"
    assert first.history.last_time <= third.history.started.time, "never two on the device"
    assert "was killed (SIGKILL)" in second.status.sentence and second.history.step == 0


def test_a_relative_model_folder_is_found_by_the_worker(real_data, tmp_path, monkeypatch):
    (tmp_path / "mine").symlink_to(real_data / "stories260k")
    monkeypatch.chdir(tmp_path)
    run = wb.start(tools.recipe(real_data, model="mine", steps=1, heldout=0), runs="runs")
    assert run.wait(60) == "finished", repr(run.status)
    assert run.folder.parent == tmp_path / "runs"


def test_a_finished_trainer_folder_opens_read_only(plain, tmp_path):
    import shutil

    folder = tmp_path / "theirs"
    for step in (20, 24):
        shutil.copytree(plain.folder / "checkpoints" / f"step-{step:06d}", folder / f"checkpoint-{step}")
    before = tools.hashes(folder)
    run = wb.attach(folder)
    state = json.loads((folder / "checkpoint-24" / "trainer_state.json").read_text())
    assert run.status == "finished" and run.read_only and run.history.steps == 24
    assert list(run.metrics()["loss"]) == [e["loss"] for e in state["log_history"] if "loss" in e] and len(run.metrics()) == 24
    assert list(run.metrics()["heldout_loss"].dropna()) == [e["eval_loss"] for e in state["log_history"] if "eval_loss" in e]
    for ask in (lambda: run.set(learning_rate=1e-3), run.stop, run.resume, lambda: run.fork(3), run.script, lambda: run.recipe, lambda: wb.replay(run),
                lambda: run.generate("a"), lambda: setattr(run, "note", "x")):
        with pytest.raises(wb.RunError):
            ask()
    assert tools.hashes(folder) == before
    with pytest.raises(wb.RunError, match="no run folder"):
        wb.attach(tmp_path)
    with pytest.raises(wb.RunError, match="is not there"):
        wb.attach(tmp_path / "nowhere")
