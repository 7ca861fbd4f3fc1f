"""Every method in this process: to JSON and back, saved and opened to the same logits, merged where weights can hold it, and refused in a
sentence where it cannot be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
import transformers

import workbench as wb
from tests.models import tools
from workbench import town
from workbench.models import checking, folders, loading, merging, methods
from workbench.models.added import EMBEDDED
from workbench.models.methods import QAT, Adapters, BitFit, Freeze, Full, LoRA, Method, Peft, PromptTuning, QLoRA

BASE = str(town.base_folder("small"))
IDS = tools.tokens()
EVERY = {
    "full": Full(), "freeze": Freeze(("embed_tokens", "layers.0")), "bitfit": BitFit(), "lora": LoRA(rank=2), "rslora": LoRA(rank=2, variant="rslora"),
    "dora": LoRA(rank=2, variant="dora"), "pissa": LoRA(rank=2, variant="pissa"),
    "pissa by matrix": LoRA(rank=4, variant="pissa", rank_pattern={"layers.0.self_attn.q_proj": 2}, alpha_pattern={"layers.1.self_attn.v_proj": 3.0}),
    "olora": LoRA(rank=2, options={"init_lora_weights": "olora"}),
    "pattern": LoRA(rank=4, rank_pattern={"layers.0.self_attn.q_proj": 2, "layers.1.mlp.down_proj": 0}, alpha_pattern={"self_attn.k_proj": 5.0}),
    "alphas overlap": LoRA(rank=2, alpha_pattern={"layers.0..*": 40, "k_proj": 5}),
    "ranks overlap": LoRA(rank=4, rank_pattern={"self_attn.q_proj": 2, "layers.0.self_attn.q_proj": 3, r"layers\.1\..*_proj": 0}, alpha_pattern={"q_proj": 7}),
    "head": LoRA(rank=2, target_modules=("lm_head", "q_proj")), "embedding": LoRA(rank=2, target_modules=("embed_tokens", "q_proj")),
    "nf4": QLoRA(rank=2), "fp4": QLoRA(rank=2, quant_type="fp4", double=False), "8 bits": QLoRA(rank=2, bits=8), "adapters": Adapters(size=4),
    "prompt": PromptTuning(tokens=4), "prompt from noise": PromptTuning(tokens=4, start="random"), "qat": QAT(bits=4),
    "ia3": Peft(config={"peft_type": "IA3"}), "prefix": Peft(config={"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 5}),
    "p-tuning": Peft(config={"peft_type": "p_tuning", "num_virtual_tokens": 5, "encoder_hidden_size": 8}),
    "loha": Peft(config={"peft_type": "LOHA", "r": 2, "target_modules": ["q_proj"]}),
}
UNMERGEABLE = ("adapters", "prompt", "prompt from noise", "prefix", "p-tuning")


@pytest.mark.parametrize("name", EVERY)
def test_a_method_goes_to_json_and_back(name):
    method = EVERY[name]
    assert methods.from_json(json.loads(json.dumps(method.to_json()))) == method
    assert wb.Recipe(method=method).replace(steps=5).to_json()["method"] == method.to_json()


@pytest.mark.parametrize("name", EVERY)
def test_a_trained_model_opens_and_merges_to_equal_logits(name, tmp_path):
    method = EVERY[name]
    model, tokenizer = wb.load("town-small", method=method)
    torch.manual_seed(0)
    start = tools.logits(model, IDS)
    model = method.apply(model)
    begins_as_base = tools.logits(model, IDS)
    if name.startswith(("pissa", "olora")):  # W is taken apart and put together again
        torch.testing.assert_close(begins_as_base, start, atol=2e-5, rtol=0)
    elif isinstance(method, (LoRA, Full, Freeze, BitFit, Adapters)):
        assert torch.equal(begins_as_base, start)
    wanted = tools.logits(tools.step(model, IDS), IDS)
    assert wanted.shape == start.shape and (wanted - start).abs().max() > 0.1
    model.save_pretrained(tmp_path / "saved")
    again, _ = wb.load(str(tmp_path / "saved"))
    found = tools.logits(method.apply(again) if name == "qat" else again, IDS)
    if name.startswith(("pissa", "olora")):
        torch.testing.assert_close(found, wanted, atol=5e-5, rtol=0)
    else:
        assert torch.equal(found, wanted)
    assert not list((tmp_path / "saved").glob("*.bin")), "safetensors alone"
    tokenizer.save_pretrained(tmp_path / "saved")
    if name in UNMERGEABLE:
        with pytest.raises(wb.WorkbenchError, match="cannot be merged into its base"):
            merging.merge(tmp_path / "saved", tmp_path / "merged")
        return
    plain = transformers.AutoModelForCausalLM.from_pretrained(merging.merge(tmp_path / "saved", tmp_path / "merged"), dtype=torch.float32)
    assert type(plain.model.layers[0].mlp.down_proj) is torch.nn.Linear
    if name == "8 bits":  # a plain layer does not round its inputs, as the 8-bit one does
        assert (tools.logits(plain, IDS) - wanted).abs().mean() < 0.2 * (wanted - start).abs().mean()
    else:
        torch.testing.assert_close(tools.logits(method.apply(plain) if name == "qat" else plain, IDS), wanted, atol=5e-5, rtol=0)


@pytest.fixture(scope="module")
def other_way_round(tmp_path_factory):
    """GPT-2, whose weights are d_in x d_out."""
    config = transformers.GPT2Config(n_embd=32, n_layer=1, n_head=4, vocab_size=1100, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0)
    return tools.saved(config, tmp_path_factory.mktemp("gpt2"), loading.load_tokenizer(BASE))


@pytest.mark.parametrize("bits", [4, 8])
def test_rounded_weights_that_lie_the_other_way_round_merge_as_they_lay(bits, other_way_round, tmp_path, monkeypatch):
    method = QLoRA(rank=2, bits=bits)
    model = tools.step(method.apply(wb.load(other_way_round, method=method)[0]), IDS)
    wanted = tools.logits(model, IDS)
    model.save_pretrained(tmp_path / "saved")
    merging.merge(tmp_path / "saved", tmp_path / "merged")
    assert folders.shapes_of(tmp_path / "merged") == folders.shapes_of(other_way_round)
    plain = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    torch.testing.assert_close(tools.logits(plain, IDS), wanted, atol=5e-5 if bits == 4 else 5e-2, rtol=0)
    monkeypatch.setattr(loading, "dequantized", lambda model: model.dequantize(model.dtype))  # as transformers has it
    with pytest.raises(wb.WorkbenchError, match=r"c_attn.weight became \(96, 32\) in merging, and is \(32, 96\)"):
        merging.merge(tmp_path / "saved", tmp_path / "broken")
    assert not (tmp_path / "broken").exists()


def test_only_what_is_named_is_trained():
    def trained(method: Method) -> set[str]:
        return {name for name, p in method.apply(wb.load("town-small")[0]).named_parameters() if p.requires_grad}

    everything = trained(Full())
    assert trained(BitFit()) == {name for name in everything if name.endswith(".bias")} and len(trained(BitFit())) > 0
    assert everything - trained(Freeze(("embed_tokens",))) == {"model.embed_tokens.weight"}
    assert everything - trained(Freeze("layers.0")) == {name for name in everything if name.startswith("model.layers.0.")}
    assert everything - trained(Freeze(("*.self_attn.?_proj.bias", "norm"))) == {name for name in everything if name.endswith("_proj.bias")} | {"model.norm.weight"}
    assert {name.split(".")[-3] for name in trained(Adapters(size=2)) if "norm" not in name} == {"bottleneck"}


def test_an_adapter_folder_is_a_base_and_what_is_trained_on_it_stands_on_it(tmp_path):
    tools.step(LoRA(rank=2).apply(wb.load("town-small")[0]), IDS).save_pretrained(tmp_path / "first")
    for name, method in (("lora", LoRA(rank=2)), ("nf4", QLoRA(rank=2)), ("adapters", Adapters(size=2))):
        model = tools.step(method.apply(wb.load(str(tmp_path / "first"), method=method)[0]), IDS)
        model.save_pretrained(tmp_path / name)
        assert torch.equal(tools.logits(wb.load(str(tmp_path / name))[0], IDS), tools.logits(model, IDS))
    checking.check_method(LoRA(target_modules=("q_proj",)), str(tmp_path / "lora"))  # on an adapter that stands on an adapter
    checking.check_method(QLoRA(rank=2), str(tmp_path / "lora"))
    with pytest.raises(wb.WorkbenchError, match="cannot be merged into its base: its bottlenecks are not linear"):
        wb.start(wb.Recipe(model=str(tmp_path / "adapters")), runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.fixture(scope="module")
def without_biases(tmp_path_factory):
    return tools.saved(tools.small_llama(vocab_size=1100), tmp_path_factory.mktemp("llama"), loading.load_tokenizer(BASE))


@pytest.fixture(scope="module")
def without_attention(tmp_path_factory):
    config = transformers.MambaConfig(hidden_size=16, num_hidden_layers=1, state_size=4, vocab_size=1100)
    return tools.saved(config, tmp_path_factory.mktemp("mamba"), loading.load_tokenizer(BASE))


@pytest.fixture(scope="module")
def without_linears(tmp_path_factory):
    """No layers at all: embeddings, a norm and a head."""
    return tools.saved(tools.small_llama(num_hidden_layers=0, vocab_size=1100), tmp_path_factory.mktemp("bare"), loading.load_tokenizer(BASE))


@pytest.mark.parametrize(("method", "words"), [
    (BitFit(), "trains biases alone, and this model has none"), (Freeze(("embedings",)), "Freeze cannot find 'embedings'.*embed_tokens"), (Freeze("*"), "leaves nothing to train"),
    (LoRA(target_modules=("q_proj", "query")), "target_modules names 'query'.*q_proj"), (LoRA(rank_pattern={"layers.7.self_attn.q_proj": 2}), "rank_pattern names 'layers.7"),
    (LoRA(options={"lora_bais": True}), "LoRA cannot be applied.*lora_bais"), (QLoRA(target_modules=("query",)), "target_modules names 'query'"),
    (Peft(config={"peft_type": "NOTHING"}), "peft has no type 'NOTHING'.*IA3"), (Peft(config={"peft_type": "IA3", "r": 3}), "peft cannot apply IA3"),
    (QAT(scheme="block-wise", block=7), "blocks of 7 do not divide")])
def test_what_cannot_be_applied_is_refused_at_the_start_before_anything_loads(without_biases, method, words, tmp_path, monkeypatch):
    monkeypatch.setattr(transformers.PreTrainedModel, "from_pretrained", None)  # whoever reads weights fails
    with pytest.raises(wb.RecipeError, match=words) as caught:
        wb.start(wb.Recipe(model=without_biases, method=method), runs=tmp_path)
    assert len(str(caught.value).splitlines()) == 1 and list(tmp_path.iterdir()) == []


def test_a_model_without_the_layers_a_method_needs_is_refused(without_attention, without_linears, tmp_path):
    with pytest.raises(wb.RecipeError, match="no blocks with an attention"):
        wb.start(wb.Recipe(model=without_attention, method=Adapters()), runs=tmp_path)
    for method in (QLoRA(), QAT()):
        with pytest.raises(wb.RecipeError, match="linear layers, and this model has none"):
            wb.start(wb.Recipe(model=without_linears, method=method), runs=tmp_path)


def test_a_method_with_tokens_of_its_own_is_not_packed():
    for method in (PromptTuning(), Peft(config={"peft_type": "prefix_tuning", "num_virtual_tokens": 3})):
        with pytest.raises(wb.RecipeError, match="tokens of its own before each row"):
            wb.Recipe(method=method, packing=True)
    assert wb.Recipe(method=Peft(config={"peft_type": "IA3"}), packing=True).packing


def test_a_prompt_of_embeddings_trains_no_classifier():
    """transformers' classifiers then answer from the last position, which may be padding."""
    for method in (PromptTuning(), Peft(config={"peft_type": "P_TUNING", "num_virtual_tokens": 3})):
        with pytest.raises(wb.RecipeError, match="cannot tell where a padded text ends"):
            wb.Recipe(method=method, objective="classification")
    assert wb.Recipe(method=Peft(config={"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 3}), objective="classification").objective == "classification"


def test_what_works_on_the_input_is_what_peft_calls_so():
    """All of peft's prompt learning, and adaption prompts, which go into the attention; embeddings but where they go to the keys and
    values."""
    import peft

    learned = {kind.value for kind, config in peft.PEFT_TYPE_TO_CONFIG_MAPPING.items() if issubclass(config, peft.PromptLearningConfig)}
    assert set(folders.PROMPTS) == learned | {"ADAPTION_PROMPT"}
    assert set(EMBEDDED) == learned - {"PREFIX_TUNING", "CARTRIDGE"}


@pytest.mark.parametrize(("make", "words"), [
    (lambda: LoRA(variant="qlora"), "variant"), (lambda: LoRA(rank_pattern={"q_proj": -1}), "rank_pattern gives 'q_proj' -1"), (lambda: LoRA(alpha_pattern={"q_proj": 0}), "alpha_pattern"),
    (lambda: LoRA(rank_pattern=[4]), "not a dict"), (lambda: LoRA(rank_pattern={"q(": 4}), "no regular expression"),
    (lambda: LoRA(options={"rank_pattern": {}}), "a field of its own"), (lambda: QLoRA(bits=3), "neither 4 nor 8"), (lambda: QLoRA(quant_type="int4"), "quant_type"), (lambda: QLoRA(double=1), "double"),  # noqa: E501
    (lambda: QLoRA(variant="pissa"), "PiSSA"), (lambda: Adapters(size=0), "size"), (lambda: Adapters(layer_norms=1), "layer_norms"), (lambda: PromptTuning(tokens=0), "tokens"),
    (lambda: PromptTuning(start="text"), "start"), (lambda: Peft(), "peft_type"), (lambda: QAT(bits=9), "bits"), (lambda: QAT(scheme="nf4"), "scheme"), (lambda: QAT(block=0), "block"),
    (lambda: QAT(activations=1), "activations"), (lambda: QAT(scheme="block-wise", activations=True), "block-wise"), (lambda: Freeze(()), "patterns"), (lambda: Freeze((1,)), "patterns"),
    (lambda: Freeze(pattern="x"), "Did you mean 'patterns'")])
def test_a_value_that_cannot_work_is_refused_in_one_sentence(make, words):
    with pytest.raises(wb.RecipeError, match=words) as caught:
        make()
    assert len(str(caught.value).splitlines()) == 1


def test_ranks_by_matrix_keep_the_scale_and_0_leaves_a_matrix_out():
    model = LoRA(rank=4, rank_pattern={"layers.0.self_attn.q_proj": 2, "layers.1.mlp.down_proj": 0}).apply(wb.load("town-small")[0])
    layers = model.get_base_model().model.layers
    ranks = layers[0].self_attn.q_proj.r["default"], layers[1].self_attn.q_proj.r["default"]
    scales = layers[0].self_attn.q_proj.scaling["default"], layers[1].self_attn.q_proj.scaling["default"]
    assert ranks == (2, 4) and scales == (2.0, 2.0)
    assert type(layers[1].mlp.down_proj) is torch.nn.Linear and type(layers[0].mlp.down_proj) is not torch.nn.Linear


def test_of_keys_that_mean_one_matrix_the_most_telling_counts():
    """A plain name before an expression, then the longer; an alpha that was given before one that follows from a rank."""
    method = LoRA(rank=4, rank_pattern={"q_proj": 2, r"layers\.0\..*_proj": 0, "layers.0.self_attn.q_proj": 3}, alpha_pattern={"self_attn.q_proj": 12, "layers.1..*": 6})
    layers = method.apply(wb.load("town-small")[0]).get_base_model().model.layers
    queries = [(layer.self_attn.q_proj.r["default"], layer.self_attn.q_proj.scaling["default"]) for layer in layers]
    assert queries == [(3, 12 / 3), (2, 12 / 2), (2, 12 / 2)]
    assert all(type(matrix) is torch.nn.Linear for matrix in (layers[0].self_attn.k_proj, layers[0].mlp.up_proj))
    assert layers[1].mlp.up_proj.scaling["default"] == 6 / 4


@pytest.mark.parametrize("make", [lambda rank: LoRA(rank=rank, variant="pissa"), lambda rank: LoRA(rank=rank, options={"init_lora_weights": "olora"})])
def test_a_start_taken_from_the_weights_has_no_more_ranks_than_they(make, without_biases):
    """The keys give 2 heads of 8 numbers: rank 16."""
    checking.check_method(make(16), without_biases)
    with pytest.raises(wb.RecipeError, match="rank 17, out of .*[kv]_proj, whose rank is at most 16"):
        checking.check_method(make(17), without_biases)


def test_olora_is_refused_where_weights_lie_the_other_way_round():
    with pytest.raises(wb.RecipeError, match=r"cannot start OLoRA from .*Conv1D"):
        LoRA(rank=2, options={"init_lora_weights": "olora"}).check(ARCHITECTURES["gpt2"])
    LoRA(rank=2, variant="pissa").check(ARCHITECTURES["gpt2"])
    with pytest.raises(wb.RecipeError, match="PiSSA changes the weights it starts from, and lm_head shares its own"):
        LoRA(rank=2, variant="pissa", target_modules=("lm_head",)).check(ARCHITECTURES["gpt2"])


def test_an_evaluation_leaves_a_rounded_base_as_it_is():
    """bitsandbytes would lay the weights out anew for some processors, with scales of fewer bits, the first time they are used in eval
    mode."""
    model, _ = wb.load("town-small", method=QLoRA())
    layer = model.model.layers[0].mlp.gate_proj
    before, kept = layer.weight.clone(), tools.logits(model, IDS)
    model.train()
    with torch.no_grad():
        torch.testing.assert_close(model(input_ids=IDS, use_cache=False).logits, kept, atol=1e-5, rtol=0)
    assert torch.equal(layer.weight, before)


def test_qlora_on_a_base_that_was_not_rounded_says_how_to_read_it():
    with pytest.raises(wb.RecipeError, match=r"wb.load\(model, method=wb.QLoRA\(\)\)"):
        QLoRA().apply(wb.load("town-small")[0])


def test_what_was_saved_from_another_model_is_refused(tmp_path):
    Adapters(size=4).apply(wb.load("town-small")[0]).save_pretrained(tmp_path)
    body = json.loads((tmp_path / folders.METHOD_FILE).read_text())
    (tmp_path / folders.METHOD_FILE).write_text(json.dumps(body | {"method": Adapters(size=3).to_json()}))
    with pytest.raises(wb.WorkbenchError, match="was saved from another model: .*bottleneck"):
        wb.load(str(tmp_path))


def test_adding_a_method_is_one_class():
    @dataclass(frozen=True, slots=True)
    class LastLayer(Method):
        """Trains the last block alone."""

        name: ClassVar[str] = "last-layer"
        layers: int = 1

        def apply(self, model: Any) -> Any:
            model.requires_grad_(False)
            for block in model.model.layers[-self.layers:] if self.layers else ():
                block.requires_grad_(True)
            return model

    try:
        recipe = wb.Recipe(model="town-small", method=LastLayer(layers=1))
        assert wb.Recipe(model="town-small", method=recipe.to_json()["method"]).method == LastLayer(layers=1)
        checking.check_method(recipe.method, BASE)
        with pytest.raises(wb.RecipeError, match="last-layer would train nothing"):
            checking.check_method(LastLayer(layers=0), BASE)
    finally:
        del methods.METHODS["last-layer"]


@pytest.mark.parametrize("name", [name for name, method in EVERY.items() if method.script()])
def test_the_lines_of_a_plain_script_do_what_the_method_does(name):
    import peft

    made = {}
    for how in ("script", "method"):
        transformers.set_seed(3)
        model = wb.load("town-small")[0]
        if how == "script":
            names = {"model": model, "peft": peft, "transformers": transformers}
            exec(EVERY[name].script(), names)
            made[how] = names["model"]
        else:
            made[how] = EVERY[name].apply(model)
    ours, theirs = ({n: p for n, p in model.named_parameters() if p.requires_grad} for model in (made["method"], made["script"]))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)


def test_checking_a_method_by_names_imports_nothing_heavy():
    code = ("import sys; from workbench.models import checking, methods as m; "
            f"[checking.check_method(method, {BASE!r}) for method in (m.Full(), m.BitFit(), m.Freeze('layers.0'), m.LoRA(), m.LoRA(target_modules=('q_proj',)), m.PromptTuning())]; "
            "print([name for name in ('torch', 'transformers', 'peft') if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


SIZES = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, vocab_size=320)
ARCHITECTURES = {
    "gpt2": transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=320), "opt": transformers.OPTConfig(ffn_dim=48, word_embed_proj_dim=32, **SIZES),
    "bloom": transformers.BloomConfig(hidden_size=32, n_layer=2, n_head=4, vocab_size=320), "neox": transformers.GPTNeoXConfig(intermediate_size=48, **SIZES),
    "phi": transformers.PhiConfig(intermediate_size=48, **SIZES), "gemma": transformers.GemmaConfig(intermediate_size=48, head_dim=8, num_key_value_heads=2, **SIZES),
    "bert": transformers.BertConfig(intermediate_size=48, is_decoder=True, **SIZES),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_adapters_find_their_places_in_every_architecture(name):
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(ARCHITECTURES[name])
    start, names = tools.logits(model, IDS), [n for n, _ in model.named_parameters()]
    model = Adapters(size=3).apply(model)
    places = [n.removesuffix(".bottleneck") for n, module in model.named_modules() if n.endswith(".bottleneck")]
    assert len(places) == 4 and all(model.get_submodule(place).weight.numel() for place in places), places
    # of each block one in the attention, and one after it that ends the feed-forward part
    assert ["attn" in place or "attention" in place for place in places] == [True, False] * 2
    assert [n for n, _ in model.named_parameters() if ".bottleneck." not in n] == names and torch.equal(tools.logits(model, IDS), start)
    assert not torch.allclose(tools.logits(tools.step(model, IDS), IDS), start, atol=1e-3)


def test_adapters_refuse_a_mixture_of_experts():
    config = transformers.MixtralConfig(intermediate_size=48, num_key_value_heads=2, num_local_experts=2, **SIZES)
    with pytest.raises(wb.RecipeError, match="a mixture of experts"):
        Adapters().check(config)
