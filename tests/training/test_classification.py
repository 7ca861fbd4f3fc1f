"""The objective `classification`: every method trains, saves and loads to equal logits; resumed, forked and replayed runs are the
uninterrupted one; embeddings are computed once.

Trains in this process on the town's small model, as `tests/runs/tools.py` has it; the losses compared are the worker's own.
"""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
import transformers

import workbench as wb
from tests.runs import tools
from workbench import town
from workbench.data import labelled, run_rows, sources
from workbench.evaluation.classifier import score_classifier
from workbench.journal import commands as cmd
from workbench.models import classifier, frozen, loading, merging, methods
from workbench.models.frozen import FrozenBackbone
from workbench.runs.start import prepare
from workbench.training import classification

LETTERS = town.rows("letters")[:120]
METHODS = {"full": (methods.Full(), 1e-3), "lora": (methods.LoRA(rank=4, dropout=0.1), 5e-3), "bitfit": (methods.BitFit(), 1e-2),
           "freeze": (methods.Freeze(("embed_tokens", "layers.0")), 1e-3), "frozen": (FrozenBackbone(), 5e-2)}


def recipe(**fields):
    given = dict(
        model="town-small",
        data=LETTERS,
        objective="classification",
        method=methods.LoRA(rank=4, dropout=0.1),
        steps=12,
        batch_size=8,
        learning_rate=5e-3,
        heldout=0.2,
        evaluate_every=6,
        checkpoint_every=4,
        max_length=64,
        sample_prompts=2,
    )
    return wb.Recipe(**(given | fields))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return tools.here(recipe(), tmp_path_factory.mktemp("plain"), "plain")


def texts(count=6):
    return [row["text"] for row in town.rows("messages")[:count]]


# ---- what is trained

@pytest.mark.parametrize("name", METHODS)
def test_every_method_learns_saves_and_loads_to_equal_logits(name, tmp_path, monkeypatch):
    method, rate = METHODS[name]
    made = []
    monkeypatch.setattr(
        classification, "build_trainer", lambda *a, _build=classification.build_trainer, **kw: made.append(_build(*a, **kw)) or made[0]
    )
    run = tools.here(recipe(method=method, learning_rate=rate, steps=20), tmp_path, name)
    frame = run.metrics()
    assert frame["loss"].iloc[-5:].mean() < frame["loss"].iloc[:5].mean()
    trained = {name for name, parameter in made[0].model.named_parameters() if parameter.requires_grad}
    assert any("score" in name for name in trained), "the head is new, so it is always trained"
    model, tokenizer = run.load()
    assert classifier.labels_of(model.config) == ["plain", "spam"]
    before = classifier.logits(made[0].model, tokenizer, texts())
    assert (classifier.logits(model, tokenizer, texts()) == before).all()
    again, tokenizer = wb.load(str(run.folder / "result"))
    assert (classifier.logits(again, tokenizer, texts()) == before).all()


SIZES = dict(vocab_size=4096, max_position_embeddings=64)
BERT = transformers.BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48, **SIZES)
WITHOUT_POOLER = {"full": methods.Full(), "bitfit": methods.BitFit(), "lora": methods.LoRA(rank=2), "adapters": methods.Adapters(size=2),
                  "loha": methods.Peft(config={"peft_type": "LOHA", "r": 2, "target_modules": ["query", "q_lin"]}), "4 bits": methods.QLoRA(rank=2), "8 bits": methods.QLoRA(rank=2, bits=8)}


@pytest.fixture(scope="module", params=["BertForMaskedLM", "BertModel", "DistilBertForMaskedLM"])
def encoder(request, tmp_path_factory):
    """A base with a pooler and two without: one whose classifier has one in the body, one whose classifier has it beside the head."""
    config = BERT if request.param.startswith("Bert") else transformers.DistilBertConfig(dim=32, n_layers=1, n_heads=2, hidden_dim=48, **SIZES)
    folder = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    getattr(transformers, request.param)(config).save_pretrained(folder)
    loading.load_tokenizer(town.base_folder("small")).save_pretrained(folder)
    return str(folder)


def taught(base, method):
    """A classifier on `base`, after two steps."""
    torch.manual_seed(3)
    model, tokenizer = classifier.load(base, ["a", "b"], method)
    model = method.apply(model).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(2):
        model(input_ids=torch.tensor([[5, 6, 7], [8, 9, 10]]), labels=torch.tensor([0, 1])).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, tokenizer


@pytest.mark.parametrize("name", WITHOUT_POOLER)
def test_what_the_base_did_not_bring_is_trained_and_saved(name, encoder, tmp_path):
    model, tokenizer = taught(encoder, WITHOUT_POOLER[name])
    wanted = classifier.logits(model, tokenizer, texts())
    model.save_pretrained(tmp_path / "saved")
    tokenizer.save_pretrained(tmp_path / "saved")
    torch.manual_seed(9)  # what is drawn when it is opened is drawn otherwise
    again, _ = wb.load(str(tmp_path / "saved"))
    assert (classifier.logits(again, tokenizer, texts()) == wanted).all()
    if name not in ("adapters", "8 bits"):  # no weight can hold bottlenecks, and a plain layer does not round its inputs
        whole, _ = wb.load(str(merging.merge(tmp_path / "saved", tmp_path / "merged")))
        assert classifier.logits(whole, tokenizer, texts()) == pytest.approx(wanted, abs=5e-5)


def test_a_method_that_trains_no_module_is_refused_where_the_base_lacks_one(tmp_path):
    transformers.BertForMaskedLM(BERT).save_pretrained(tmp_path)
    loading.load_tokenizer(town.base_folder("small")).save_pretrained(tmp_path)
    method = methods.Peft(config={"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 2})
    with pytest.raises(wb.RecipeError, match="brings no bert.pooler.dense.*PREFIX_TUNING trains no module"):
        method.apply(classifier.load(str(tmp_path), ["a", "b"], method)[0])


def test_the_result_opens_with_transformers_alone(tmp_path):
    run = tools.here(recipe(method=methods.Full(), steps=4), tmp_path)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(run.folder / "result", dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(run.folder / "result")
    batch = tokenizer(texts(), padding=True, return_tensors="pt", truncation=True, max_length=64)
    with torch.no_grad():
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.numpy()
    assert logits == pytest.approx(classifier.logits(*run.load(), texts()), abs=1e-5)


def test_the_loss_is_cross_entropy_over_the_rows_of_the_accumulated_batch(tmp_path):
    """The first step's loss and gradient by hand: 4 rows at once, or 1 row four times."""
    losses = []
    for batch, parts in ((4, 1), (1, 4), (2, 2)):
        run = tools.here(
            recipe(method=methods.Full(), steps=2, batch_size=batch, gradient_accumulation=parts, sample_prompts=0),
            tmp_path,
            f"{batch}x{parts}",
        )
        frame = run.metrics()
        losses.append(
            (frame["loss"].iloc[0], frame["grad_norm"].iloc[0], run.history.evaluations[0].loss if run.history.evaluations else 0)
        )
    assert losses[1] == pytest.approx(losses[0], rel=1e-5) and losses[2] == pytest.approx(losses[0], rel=1e-5)


def test_an_evaluation_is_what_the_classifier_scores(plain, tmp_path):
    last = plain.history.evaluations[-1]
    score = score_classifier(plain, sources.kept(plain.folder / "data" / "heldout.arrow"))
    assert (
        last.step == 12
        and (last.extra["accuracy"], last.extra["macro_f1"]) == (score.accuracy, score.macro_f1)
        and last.loss == pytest.approx(score.loss, rel=1e-5)
    )


def test_the_journal_says_what_was_learned_on(plain):
    prepared = plain.history.prepared
    assert (prepared.rows, prepared.heldout_rows, prepared.trained_tokens) == (
        96,
        24,
        96,
    ) and "The labels are plain, spam." in prepared.notes
    assert prepared.trainable_parameters < prepared.parameters


def test_samples_are_texts_with_the_label_they_are_given(plain):
    heldout = labelled.read(sources.kept(plain.folder / "data" / "heldout.arrow"))[:2]
    samples = plain.samples()
    assert list(samples["prompt"][:2]) == [row["text"] for row in heldout] and list(samples["reference"][:2]) == [
        row["label"] for row in heldout
    ]
    assert set(samples["reply"]) <= {"plain", "spam"}
    assert ((samples["reply"] == samples["reference"]) == (samples["verdict"] == "right")).all() and set(samples["verdict"]) <= {
        "right",
        "wrong",
    }
    own = tools.here(recipe(sample_prompts=["hello"], steps=4, evaluate_every=4), plain.folder.parent, "own").samples()
    assert list(own["prompt"]) == ["hello"] and list(own["verdict"]) == [""]


def test_a_run_answers_with_labels(plain):
    told = plain.classify(texts(3))
    assert list(told["text"]) == texts(3) and set(told["label"]) <= {"plain", "spam"} and told["probability"].between(0.5, 1).all()
    assert plain.generate(texts(1)[0]) == f"{told['label'][0]} ({told['probability'][0]:.0%})".replace("%", " %")
    score = score_classifier(plain, LETTERS[:5])
    assert plain.losses(LETTERS[:5]) == pytest.approx(list(score.answers["loss"]), abs=1e-5)
    for ask, words in (
        (lambda: plain.next_tokens("hello"), "no probe called 'next_tokens'"),
        (lambda: plain.losses([{"text": "a", "label": "z"}]), "'z' is none of"),
    ):
        with pytest.raises(wb.RunError, match=words):
            ask()


# ---- again and again

def test_resumed_is_uninterrupted(plain, tmp_path):
    folder = prepare(recipe(), tmp_path, "stopped")
    cmd.send(folder, cmd.Stop(at_step=7))
    assert tools.train_here(folder) == "stopped"
    (folder / "commands.jsonl").unlink()
    shutil.rmtree(folder / "checkpoints" / "step-000007")  # so that three steps are run again
    tools.train_here(folder)
    run = wb.attach(folder)
    assert tools.losses(run) == tools.losses(plain) and [e.loss for e in run.history.evaluations] == [
        e.loss for e in plain.history.evaluations
    ]
    assert (classifier.logits(*run.load(), texts()) == classifier.logits(*plain.load(), texts())).all()


@pytest.mark.usefixtures("warm")
def test_a_worker_is_paused_asked_steered_forked_and_replayed(plain, tmp_path):
    run = wb.start(recipe(), runs=tmp_path, name="steered")
    run.pause(at_step=5)
    run.set(learning_rate=1e-3, at_step=8)
    run.wait(60, until="paused")
    assert set(run.classify(texts(2))["label"]) <= {"plain", "spam"}
    run.resume()
    run.wait(60)
    assert tools.losses(run)[:9] == tools.losses(plain)[:9] and tools.losses(run)[9:] != tools.losses(plain)[9:]
    again = wb.replay(run, 60)
    assert again.same, again.sentence
    child = run.fork(step=8, learning_rate=5e-3)
    child.wait(60)
    assert child.status == "finished" and tools.losses(child) == tools.losses(plain)


def test_a_classifier_goes_on_learning_with_its_labels(plain, tmp_path):
    """A run on the result of another: its head is kept, and the order of its labels."""
    run = tools.here(
        recipe(model=str(plain.folder / "result"), data=town.rows("messages")[:40], heldout=0, steps=2, learning_rate=1e-6), tmp_path
    )
    assert classifier.logits(*run.load(), texts()) == pytest.approx(classifier.logits(*plain.load(), texts()), abs=1e-3)
    with pytest.raises(wb.RecipeError, match="tells plain, spam, and rows have the label 'ham'"):
        tools.here(
            recipe(model=str(plain.folder / "result"), data=[{"text": "a", "label": "ham"}, {"text": "b", "label": "spam"}] * 5), tmp_path
        )


def test_a_language_adapter_becomes_part_of_the_classifiers_body(tmp_path):
    spoken = tools.here(
        wb.Recipe(model="town-small", data="town:instructions", steps=3, method=methods.LoRA(rank=2), learning_rate=1e-2, heldout=0),
        tmp_path,
        "spoken",
    )
    run = tools.here(
        recipe(model=str(spoken.folder / "result"), method=methods.Full(), steps=1, learning_rate=1e-9, heldout=0), tmp_path, "over"
    )
    body = spoken.load()[0].merge_and_unload().model
    ids = torch.tensor([[5, 9, 300, 7]])
    with torch.no_grad():
        assert torch.allclose(run.load()[0].model(ids).last_hidden_state, body(ids).last_hidden_state, atol=1e-4)


def test_a_mixture_is_drawn_and_steered(tmp_path):
    mixture = wb.Mixture(
        {"letters": LETTERS, "messages": town.rows("messages")[:40]}, rule="weights", weights={"letters": 1, "messages": 3}
    )
    run = tools.here(recipe(data=mixture, steps=10), tmp_path)
    drawn = run.metrics()
    assert drawn["rows/messages"].sum() + drawn["rows/letters"].sum() == 80 and drawn["rows/messages"].sum() > drawn["rows/letters"].sum()


# ---- a frozen backbone

@pytest.fixture
def backbone_calls(monkeypatch):
    """How often the body of the model runs, and over how many rows."""
    calls, forward = [], transformers.Qwen2Model.forward
    monkeypatch.setattr(
        transformers.Qwen2Model,
        "forward",
        lambda self, input_ids=None, **kw: calls.append(len(input_ids)) or forward(self, input_ids, **kw),
    )
    return calls


def test_the_backbone_runs_once_a_row_however_many_epochs(tmp_path, backbone_calls):
    fields = dict(method=FrozenBackbone(), steps=None, learning_rate=5e-2, sample_prompts=0, evaluate_every=12, checkpoint_every=48)
    run = tools.here(recipe(epochs=4, **fields), tmp_path, "cached")
    assert sum(backbone_calls) == 120, "96 rows trained and 24 held out, once each"
    assert len(list((run.folder / "features").glob("*.safetensors"))) == 2
    backbone_calls.clear()
    tools.here(recipe(epochs=4, **fields | {"method": FrozenBackbone(cache=False)}), tmp_path, "not cached")
    assert sum(backbone_calls) == 4 * 96 + 4 * 24


def test_cached_equals_not_cached(tmp_path):
    runs = [tools.here(recipe(method=FrozenBackbone(cache=cache), learning_rate=5e-2), tmp_path, str(cache)) for cache in (True, False)]
    first, second = (np.array(tools.losses(run)) for run in runs)
    assert first == pytest.approx(second, rel=1e-4) and first[-1] != first[0]
    assert runs[0].history.evaluations[-1].loss == pytest.approx(runs[1].history.evaluations[-1].loss, rel=1e-4)
    for run in runs:
        model = run.load()[0]
        base = classifier.load(str(town.base_folder("small")), ["plain", "spam"])[0]
        assert all(
            (a == b).all() for a, b in zip(model.model.parameters(), base.model.parameters(), strict=True)
        ), "nothing but the head has changed"


def test_a_resumed_run_reads_its_embeddings(tmp_path, backbone_calls):
    folder = prepare(recipe(method=FrozenBackbone(), sample_prompts=0), tmp_path, "resumed")
    cmd.send(folder, cmd.Stop(at_step=6))
    tools.train_here(folder)
    (folder / "commands.jsonl").unlink()
    backbone_calls.clear()
    tools.train_here(folder)
    assert wb.attach(folder).status == "finished" and not backbone_calls


def test_other_weights_or_other_rows_are_other_embeddings(tmp_path):
    model = classifier.load(str(town.base_folder("small")), ["plain", "spam"])[0]
    first = frozen.kept(tmp_path, model, [[5, 6, 7], [8]])
    assert (frozen.kept(tmp_path, model, [[5, 6, 7], [8]]) == first).all() and len(list(tmp_path.iterdir())) == 1
    assert frozen.kept(tmp_path, model, [[5, 6], [7, 8]]).shape == first.shape and len(list(tmp_path.iterdir())) == 2
    with torch.no_grad():
        model.model.norm.weight.mul_(2)
    assert frozen.kept(tmp_path, model, [[5, 6, 7], [8]]) == pytest.approx(2 * first, rel=1e-5) and len(list(tmp_path.iterdir())) == 3
    model.score.weight.data.zero_()
    frozen.kept(tmp_path, model, [[5, 6, 7], [8]])
    assert len(list(tmp_path.iterdir())) == 3, "the head is not what embeds"


def test_embeddings_are_as_wide_as_the_head_asks(tmp_path):
    """OPT may project what it hands over to another width than its layers have."""
    config = transformers.OPTConfig(
        hidden_size=32, word_embed_proj_dim=24, ffn_dim=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=64, do_layer_norm_before=True
    )
    model = FrozenBackbone().apply(transformers.AutoModelForSequenceClassification.from_config(config)).eval()
    rows = [[5, 6, 7], [8, 9, 10]]
    found = frozen.kept(tmp_path, model, rows)
    assert found.shape == (2, 24)
    torch.testing.assert_close(model.score(found), model(torch.tensor(rows)).logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("names", "order"), [(["10", "9", "-1"], ["-1", "9", "10"]), (["--1", "2"], ["--1", "2"]), (["1", "01", "-"], ["-", "01", "1"]), (["1", "01"], ["01", "1"])]
)
def test_labels_are_in_order_of_size_where_all_are_numbers(names, order):
    assert labelled.label_names([{"text": "a", "label": name} for name in names]) == order


def test_later_epochs_are_quicker_than_the_backbone(tmp_path):
    """An epoch on embeddings is at least twice as quick, here where the backbone is as small as it gets; measured are whole steps, the
    trainer's own time included."""
    def seconds(cache):
        fields = dict(method=FrozenBackbone(cache=cache), steps=20, batch_size=32, evaluate_every=20, checkpoint_every=20, sample_prompts=0)
        return float(np.median(np.diff(tools.here(recipe(**fields), tmp_path, str(cache)).metrics()["time"])))

    cached, through = seconds(True), seconds(False)
    print(f"A step on embeddings takes {1000 * cached:.1f} ms, one through the backbone {1000 * through:.1f} ms.")
    assert 2 * cached < through


# ---- what cannot work


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (dict(packing=True), "Packing puts several texts into one row"),
        (dict(objective="sft", method=FrozenBackbone()), "FrozenBackbone trains the head of a classifier"),
        (dict(method=dict(name="frozen-backbone", cache=3)), "cache is 3"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused(fields, words):
    with pytest.raises(wb.RecipeError, match=words) as caught:
        recipe(**fields)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (dict(data=[{"text": str(i), "label": "x"} for i in range(9)]), "nothing to tell apart"),
        (dict(data="town:instructions"), "no column of labels|no column of text"),
        (dict(heldout="town:texts"), "no column of labels"),
    ],
)
def test_rows_that_cannot_work_are_refused_before_anything_starts(fields, words, tmp_path):
    with pytest.raises(wb.DataError, match=words):
        wb.start(recipe(**fields), runs=tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_frozen_method_survives_its_recipes_json():
    given = recipe(data="town:letters", method=FrozenBackbone(cache=False))
    assert wb.Recipe.from_json(given.to_json()) == given


def test_the_real_collection_is_learned_by_its_path(real_data, tmp_path):
    """One label in seven is spam: more are right than by always saying ham."""
    found, _, _ = run_rows.gather(str(real_data / "sms_spam" / "SMSSpamCollection"), 0.1, 0, labelled.RULES)
    ham = np.mean([row["label"] == "ham" for row in labelled.read(found.heldout[""])])
    run = tools.here(
        recipe(
            data=str(real_data / "sms_spam" / "SMSSpamCollection"),
            heldout=0.1,
            steps=60,
            batch_size=16,
            evaluate_every=60,
            checkpoint_every=60,
            method=methods.Full(),
            learning_rate=1e-3,
            sample_prompts=0,
        ),
        tmp_path,
    )
    assert run.history.evaluations[-1].extra["accuracy"] > ham + 0.03


def test_there_is_no_plain_script_of_it_yet(plain, tmp_path):
    with pytest.raises(wb.RunError, match="no plain script yet"):
        plain.script(tmp_path)
