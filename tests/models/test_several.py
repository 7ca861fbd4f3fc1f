"""Several adapters on one base: switched, and another for each row of a batch, to the logits each has when it is opened alone."""

import pytest
import torch

import workbench as wb
from tests.models import tools
from tests.runs import tools as runs
from workbench.models import loading
from workbench.models.methods import Adapters, LoRA, Peft, PromptTuning
from workbench.models.several import Several

IDS = tools.tokens(rows=4)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folders of adapters trained on different tokens, by name."""
    folder = tmp_path_factory.mktemp("adapters")
    for seed, (name, method) in enumerate({"one": LoRA(rank=2), "two": LoRA(rank=4, variant="rslora", target_modules=("q_proj",)), "dora": LoRA(rank=2, variant="dora"),
                                           "ia3": Peft(config={"peft_type": "IA3"})}.items()):
        tools.step(method.apply(wb.load("town-small")[0]), tools.tokens(seed=seed + 10)).save_pretrained(folder / name)
    return folder


def alone(folder, name) -> torch.Tensor:
    return tools.logits(wb.load(str(folder / name) if name else "town-small")[0], IDS)


@pytest.mark.parametrize("names", [("one", "two"), ("one", "dora"), ("ia3",)], ids="-".join)
def test_each_row_has_the_logits_of_its_adapter(trained, names):
    several = Several({name: trained / name for name in names})
    assert several.names == list(names) and several.together == (names == ("one", "two"))
    rows = [names[-1], None, names[0], names[-1]]
    found = several.logits(IDS, rows)
    for row, name in enumerate(rows):
        torch.testing.assert_close(found[row], alone(trained, name)[row], atol=2e-5, rtol=0)
    assert not torch.allclose(found[0], alone(trained, None)[0], atol=0.1), "the adapters do something"


def test_switching_changes_the_model_and_rows_of_others_leave_it(trained):
    several = Several({"one": trained / "one", "two": trained / "two"})
    for name in ("two", "one"):
        several.use(name)
        several.logits(IDS, [None, "one", "two", "one"])
        torch.testing.assert_close(tools.logits(several.model, IDS), alone(trained, name), atol=2e-5, rtol=0)
        assert not any(p.requires_grad for p in several.model.parameters())


def test_a_run_brings_its_result(trained, tmp_path):
    run = runs.here(wb.Recipe(model="town-small", data=runs.rows(12), heldout=0, method=LoRA(rank=2), steps=1, batch_size=2, sample_prompts=0), tmp_path)
    several = Several({"run": run, "one": trained / "one"})
    torch.testing.assert_close(several.logits(IDS, ["run"] * 4), tools.logits(run.load()[0], IDS), atol=2e-5, rtol=0)


def test_each_prompt_is_answered_by_its_adapter(trained):
    several = Several({"one": trained / "one", "two": trained / "two"})
    prompt = "Who bakes bread?"
    replies = several.replies([prompt] * 3, ["one", None, "two"], max_new_tokens=8)
    for name, reply in zip(("one", None, "two"), replies, strict=True):
        model, tokenizer = wb.load(str(trained / name) if name else "town-small")
        assert reply == wb.Probes(model, tokenizer).generate(prompt, max_new_tokens=8, raw=True)


@pytest.mark.parametrize(("act", "words"), [
    (lambda several: several.use("three"), "no adapter called 'three'.*one, two"), (lambda several: several.logits(IDS, ["one"]), "1 adapters were named for 4 rows")])
def test_a_wrong_name_or_count_is_said(trained, act, words):
    with pytest.raises(wb.WorkbenchError, match=words):
        act(Several({"one": trained / "one", "two": trained / "two"}))


def test_adapters_peft_cannot_hold_together_are_refused_before_the_base_is_loaded(trained, tmp_path, monkeypatch):
    for name, method in {"prompt": PromptTuning(tokens=2), "all": LoRA(rank=2, bias="all"), "lora only": LoRA(rank=4, bias="lora_only")}.items():
        method.apply(wb.load("town-small")[0]).save_pretrained(tmp_path / name)
    assert Several({"all": tmp_path / "all"}).names == ["all"]
    monkeypatch.setattr(loading, "load", None)
    for given, words in (({"one": trained / "one", "prompt": tmp_path / "prompt"}, "prompt is of peft's type PROMPT_TUNING, and one of LORA"),
                         ({name: tmp_path / name for name in ("all", "lora only")}, "all and lora only changed the base's biases")):
        with pytest.raises(wb.WorkbenchError, match=words):
            Several(given)


def test_adapters_that_cannot_be_together_are_refused(trained, tmp_path):
    tools.step(LoRA(rank=2).apply(wb.load("town")[0]), IDS).save_pretrained(tmp_path / "other")
    Adapters(size=2).apply(wb.load("town-small")[0]).save_pretrained(tmp_path / "bottlenecks")
    for given, words in (({"one": trained / "one", "other": tmp_path / "other"}, "stands on .*medium"), ({"b": tmp_path / "bottlenecks"}, "is no adapter of peft's"), ({}, "No adapters")):
        with pytest.raises(wb.WorkbenchError, match=words):
            Several(given)
