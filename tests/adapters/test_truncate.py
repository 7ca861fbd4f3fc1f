"""Cut adapters: the best of their rank (Eckart-Young), loadable by peft, and what their ranks may be; ranks for a budget against brute
force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import workbench as wb
from tests.adapters import tools
from workbench import town
from workbench.adapters import energy_kept, energy_ranks, open_adapter, pattern_parameters, spectrum, suggest_rank_pattern, truncate
from workbench.adapters.spectra import frame
from workbench.adapters.truncate import projected
from workbench.errors import WorkbenchError
from workbench.models import classifier
from workbench.models.methods import LoRA
from workbench.models.quiet import quiet_peft


def loaded(folder, base):
    with quiet_peft() as peft:
        return peft.PeftModel.from_pretrained(base, str(folder))


@pytest.mark.parametrize(("kind", "options"), [("llama", {}), ("llama", {"use_rslora": True}), ("gpt2", {"fan_in_fan_out": True}),
                                               ("llama", {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 3}}),
                                               ("llama", {"target_modules": ["embed_tokens", "q_proj"]})])
def test_what_peft_loads_is_the_best_matrix_of_that_rank(tmp_path, kind, options):
    """The distance to ΔW is the one Eckart and Young prove least: the root of the squares of the singular values that were cut off."""
    model = tools.adapted(tools.tiny(kind), **options)
    whole = {name: update.clone() for name, update in tools.deltas(model).items()}
    folder = truncate(tools.saved(model, tmp_path / "whole"), 2, tmp_path / "cut")
    for name, update in tools.deltas(loaded(folder, tools.tiny(kind))).items():
        values = torch.linalg.svdvals(whole[name])
        assert torch.linalg.matrix_rank(update, rtol=1e-5) <= 2
        assert (whole[name] - update).norm() == pytest.approx(values[2:].norm().item(), rel=1e-4, abs=1e-4)
    assert energy_ranks(spectrum(folder))["rank"].max() == 2


def test_the_whole_rank_is_the_same_adapter(tmp_path):
    model = tools.adapted(tools.tiny())
    ids = torch.arange(8)[None]
    logits = model(ids).logits
    folder = truncate(tools.saved(model, tmp_path / "whole"), 64, tmp_path / "same")
    assert torch.allclose(loaded(folder, tools.tiny())(ids).logits, logits, atol=1e-4)
    assert open_adapter(folder).config["r"] == 4


def test_ranks_by_matrix_and_matrices_left_without_an_update(tmp_path):
    model = tools.adapted(tools.tiny())
    ranks = {"layers.0.self_attn.q_proj": 1, "q_proj": 2, "mlp.up_proj": 0}
    folder = truncate(tools.saved(model, tmp_path / "whole"), ranks, tmp_path / "cut")
    again = tools.deltas(loaded(folder, tools.tiny()))
    kept = {name: int(torch.linalg.matrix_rank(update, rtol=1e-5)) for name, update in again.items()}
    assert kept["model.layers.0.self_attn.q_proj"] == 1 and kept["model.layers.1.self_attn.q_proj"] == 2 and kept["model.layers.1.self_attn.k_proj"] == 4
    assert not any("up_proj" in name for name in kept) and len(kept) == 12


def test_dora_keeps_its_magnitude_and_heads_saved_whole_go_with_it(tmp_path):
    model = tools.adapted(tools.tiny(), use_dora=True, target_modules=["q_proj"])
    for name, parameter in model.named_parameters():
        if "magnitude" in name:
            parameter.data *= 1.5
    ids = torch.arange(8)[None]
    folder = truncate(tools.saved(model, tmp_path / "whole"), 4, tmp_path / "cut")
    assert torch.allclose(loaded(folder, tools.tiny())(ids).logits, model(ids).logits, atol=1e-4)
    headed = tools.adapted(tools.tiny("bert"), task_type="SEQ_CLS", target_modules=["query"])
    folder = truncate(tools.saved(headed, tmp_path / "headed"), 4, tmp_path / "headed cut")
    assert torch.allclose(loaded(folder, tools.tiny("bert"))(ids).logits, headed.eval()(ids).logits, atol=1e-4)


def test_a_cut_classifier_opens_with_its_labels_and_its_pad_token(tmp_path):
    model, tokenizer = classifier.load(str(town.base_folder("small")), ["plain", "spam"])
    model = LoRA(rank=2).apply(model)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.fill_(0.01)
    model.save_pretrained(tmp_path / "whole")
    tokenizer.save_pretrained(tmp_path / "whole")
    texts = ["Buy now!", "I come at six."]
    opened, beside = wb.load(str(truncate(tmp_path / "whole", 2, tmp_path / "cut")))
    assert classifier.labels_of(opened.config) == ["plain", "spam"]
    assert opened.config.pad_token_id == beside.pad_token_id == tokenizer.pad_token_id is not None
    assert classifier.logits(opened, beside, texts) == pytest.approx(classifier.logits(model, tokenizer, texts), abs=1e-4)


def test_the_vector_of_lora_bias_goes_with_its_matrix(tmp_path):
    model = tools.adapted(tools.tiny(), lora_bias=True, lora_alpha=12)
    for name, parameter in model.named_parameters():
        if "lora_B" in name and name.endswith(".bias"):
            parameter.data.normal_(generator=torch.Generator().manual_seed(len(name)))
    ids = torch.arange(8)[None]
    whole = tools.saved(model, tmp_path / "whole")
    adapter = open_adapter(whole)
    assert len(adapter.factors) == 14 and all(factor.bias.shape == (factor.shape[0],) for factor in adapter.factors) and not adapter.rest
    assert "lora_bias" in adapter.notes[0]
    folder = truncate(whole, 4, tmp_path / "cut")
    assert torch.allclose(loaded(folder, tools.tiny())(ids).logits, model.eval()(ids).logits, atol=1e-4)
    fewer = loaded(truncate(whole, {"up_proj": 0}, tmp_path / "fewer"), tools.tiny())
    assert not any("up_proj.lora" in name for name, _ in fewer.named_parameters())
    assert not any("up_proj" in key for key in load_file(tmp_path / "fewer" / "adapter_model.safetensors"))


def test_an_adapter_of_another_layout_becomes_one_that_peft_loads(tmp_path):
    from safetensors.torch import save_file

    a, b = torch.ones(2, 16), torch.ones(16, 2)
    save_file({"model.layers.0.self_attn.q_proj.lora_down.weight": a, "model.layers.0.self_attn.q_proj.lora_up.weight": b,
               "model.layers.0.self_attn.q_proj.alpha": torch.tensor(4.0)}, tmp_path / "other.safetensors")
    update, = tools.deltas(loaded(truncate(tmp_path / "other.safetensors", 1, tmp_path / "cut"), tools.tiny())).values()
    assert torch.allclose(update, torch.full((16, 16), 4.0).double(), atol=1e-5)  # 4/2 · b a, each entry 2: all of it is one direction


def test_the_projected_b_is_the_same_cut(tmp_path):
    factor = open_adapter(tools.saved(tools.adapted(tools.tiny()), tmp_path)).factors[0]
    full = factor.scale * factor.b.double() @ factor.a.double()
    left, values, right = torch.linalg.svd(full)
    for rank, b in projected(factor, [0, 1, 3]).items():
        best = left[:, :rank] * values[:rank] @ right[:rank]
        assert torch.allclose(factor.scale * b.double() @ factor.a.double(), best, atol=1e-4)


def test_refusals(tmp_path):
    folder = tools.saved(tools.adapted(tools.tiny()), tmp_path / "whole")
    bad = [(-1, "rank of -1"), (True, "rank of True"), (0, "Every matrix"), ({"qproj": 2}, "no update of 'qproj'"), ({"q_proj": 1.5}, "rank of 1.5")]
    for rank, match in bad:
        with pytest.raises(WorkbenchError, match=match):
            truncate(folder, rank, tmp_path / "cut")
    assert not (tmp_path / "cut").exists()
    with pytest.raises(WorkbenchError, match="holds an adapter already"):
        truncate(folder, 2, folder)
    with pytest.raises(WorkbenchError, match="began as pissa"):
        truncate(tools.saved(tools.adapted(tools.tiny(), init_lora_weights="pissa"), tmp_path / "pissa"), 2, tmp_path / "cut")


def table_of(values: dict[tuple[int, str], list[float]], shapes: dict[tuple[int, str], tuple[int, int]]):
    return frame(values, shapes=shapes, names={place: f"model.layers.{place[0]}.self_attn.{place[1]}" for place in values})


def best_by_brute_force(table, budget, least):
    """The largest share of the energy that any ranks within the budget keep."""
    groups = {place: lines.to_numpy() for place, lines in table.groupby(["layer", "module"], sort=False)["singular_value"]}
    held = [np.concatenate(([0.0], np.cumsum(values**2))) for values in groups.values()]
    cost = np.array([sum(table.attrs["shapes"][place]) for place in groups])
    ranks = np.array(list(itertools.product(*(range(least, len(part)) for part in held))))
    kept = sum(part[ranks[:, column]] for column, part in enumerate(held))
    return kept[ranks @ cost <= budget].max() / sum(part[-1] for part in held)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("least", [0, 1])
def test_no_other_ranks_of_one_shape_keep_more(seed, least):
    draw = np.random.default_rng(seed)
    values = {(layer, module): sorted(draw.exponential(size=4), reverse=True) for layer in range(2) for module in ("q_proj", "v_proj")}
    table = table_of(values, {place: (6, 4) for place in values})
    for budget in (40, 75, 100, 160, 1000):
        pattern = suggest_rank_pattern(table, None, budget, least)
        assert pattern_parameters(pattern, table) <= budget
        assert energy_kept(table, pattern) == pytest.approx(best_by_brute_force(table, budget, least))


@pytest.mark.parametrize("seed", range(5))
def test_of_different_shapes_at_most_one_directions_energy_is_given_away(seed):
    """Greedy fills the knapsack but for what one direction costs, so it is below the best by less than that direction holds; and for the
    budget that it had used up to there, nothing is better."""
    draw = np.random.default_rng(seed)
    shapes = {(0, "q_proj"): (4, 4), (0, "up_proj"): (8, 4), (1, "down_proj"): (4, 16)}
    table = table_of({place: sorted(draw.exponential(size=4), reverse=True) for place in shapes}, shapes)
    total = (table["singular_value"] ** 2).sum()
    for budget in range(44, 180, 7):
        kept = energy_kept(table, suggest_rank_pattern(table, None, budget))
        best = best_by_brute_force(table, budget, 1)
        assert best - (table["singular_value"] ** 2).max() / total <= kept <= best + 1e-12
    order = sorted(((value**2 / sum(shapes[place]), sum(shapes[place])) for place in shapes
                    for value in table[(table["layer"] == place[0]) & (table["module"] == place[1])]["singular_value"].iloc[1:]), reverse=True)
    for budget in itertools.accumulate((cost for _, cost in order), initial=sum(map(sum, shapes.values()))):
        assert energy_kept(table, suggest_rank_pattern(table, None, budget)) == pytest.approx(best_by_brute_force(table, budget, 1))


def test_the_suggestion_is_what_lora_and_peft_take(tmp_path):
    from workbench.models.methods import LoRA

    model = tools.adapted(tools.tiny(), r=6)
    table = spectrum(tools.saved(model, tmp_path))
    budget = pattern_parameters(3, table)
    assert budget == sum(3 * sum(shape) for shape in table.attrs["shapes"].values())
    pattern = suggest_rank_pattern(table, table.attrs["shapes"], budget)
    assert set(pattern) == {name.removeprefix("model.") for name in table.attrs["names"].values()} and min(pattern.values()) >= 1
    with quiet_peft() as peft:
        for adapted in (peft.get_peft_model(tools.tiny(), peft.LoraConfig(r=3, rank_pattern=pattern, target_modules="all-linear")),
                        LoRA(rank=3, rank_pattern=pattern).apply(tools.tiny())):
            trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
            assert trained == pattern_parameters(pattern, table) <= budget


def test_a_budget_too_small_is_refused_and_one_too_large_takes_all():
    table = table_of({(0, "q_proj"): [2.0, 1.0], (1, "q_proj"): [3.0, 0.0]}, {(0, "q_proj"): (4, 4), (1, "q_proj"): (4, 4)})
    with pytest.raises(WorkbenchError, match="rank 1 in every matrix takes 16"):
        suggest_rank_pattern(table, None, 15)
    pattern = suggest_rank_pattern(table, None, 1000)
    assert pattern == {"layers.0.self_attn.q_proj": 2, "layers.1.self_attn.q_proj": 1}  # a direction that holds nothing is not taken
    assert energy_kept(table, pattern) == 1.0
    with pytest.raises(WorkbenchError, match="does not say the shape"):
        suggest_rank_pattern(frame({(0, "q"): [1.0]}), None, 100)
