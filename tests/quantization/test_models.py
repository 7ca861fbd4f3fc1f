"""Whole models under a scheme, and the activations of their layers: what is quantized, what is left, and that a model is itself again to
the last bit."""

import math

import pytest
import torch
import transformers

from workbench.errors import DataError, WorkbenchError
from workbench.quantization import activations, collect, perplexity, quantize, quantize_model, quantized_model, sensitivity, static_against_dynamic
from workbench.quantization.coders import Coder
from workbench.quantization.layers import linear_layers, matrix
from workbench.quantization.texts import nats_per_token, token_windows

IDS = [[(7 * i + j * j) % 60 + 1 for j in range(12)] for i in range(6)]
"""Texts as ids, so that no tokenizer is needed."""


@pytest.fixture(scope="module")
def llama():
    torch.manual_seed(0)
    config = transformers.LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
                                      num_key_value_heads=2, tie_word_embeddings=True, max_position_embeddings=64, initializer_range=0.2)
    return transformers.LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def gpt2():
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=64, n_embd=32, n_layer=1, n_head=2, n_positions=64, tie_word_embeddings=False,
                                     initializer_range=0.2)
    return transformers.GPT2LMHeadModel(config).eval()


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(model, before):
    return all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_tied_head_is_left_and_a_conv1d_is_turned(llama, gpt2):
    assert len(linear_layers(llama)) == 14 and "lm_head" not in linear_layers(llama)
    found = linear_layers(gpt2)
    assert "lm_head" in found and len(found) == 5
    assert matrix(found["transformer.h.0.attn.c_attn"]).shape == (96, 32), "d_out × d_in"
    with pytest.raises(WorkbenchError, match="no linear layer 'nothing'. Its linear layers are model.layers.0"):
        linear_layers(llama, ["nothing"])


@pytest.mark.parametrize("scheme", ["absmax", "vector-wise", "NF4 double", "bf16"])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_inside_it_is_quantized_and_after_it_is_itself(kind, scheme, request):
    model = request.getfixturevalue(kind)
    before, parameters = state(model), [id(parameter) for parameter in model.parameters()]
    base = perplexity(model, None, IDS)
    with quantized_model(model, scheme, bits=4) as sizes:
        for name, module in linear_layers(model).items():
            was = before[f"{name}.weight"]
            assert torch.equal(matrix(module), quantize(was if kind == "llama" or name == "lm_head" else was.T,
                                                        scheme, bits=4).dequantize())
        inside = perplexity(model, None, IDS)
    assert inside != base and sizes.layers == tuple(linear_layers(model))
    assert same(model, before) and [id(parameter) for parameter in model.parameters()] == parameters
    assert perplexity(model, None, IDS) == base

    with pytest.raises(KeyError), quantized_model(model, scheme):
        raise KeyError
    assert same(model, before), "whatever happens inside"


def test_a_copy_leaves_the_model_alone(llama):
    before = state(llama)
    twin, sizes = quantize_model(llama, "vector-wise", bits=3)
    assert same(llama, before) and twin is not llama
    expected = quantize(before["model.layers.0.mlp.up_proj.weight"], "vector-wise", bits=3).dequantize()
    assert torch.equal(twin.model.layers[0].mlp.up_proj.weight, expected)
    with quantized_model(llama, "vector-wise", bits=3):
        assert perplexity(llama, None, IDS) == perplexity(twin, None, IDS)
    assert twin.lm_head.weight is twin.model.embed_tokens.weight, "tied as it was"


def test_bytes(llama):
    with quantized_model(llama, "NF4") as sizes:
        linear = sum(module.weight.numel() for module in linear_layers(llama).values())
    everything = sum(parameter.numel() for parameter in llama.parameters())
    assert sizes.bytes_before == 4 * everything and sizes.bits_per_weight == pytest.approx(4.5)
    assert sizes.bytes_after == 4 * (everything - linear) + linear * 4.5 / 8
    with quantized_model(llama, "NF4", layers=["model.layers.1.mlp.down_proj"]) as one:
        assert one.layers == ("model.layers.1.mlp.down_proj",) and one.bytes_before - one.bytes_after == 48 * 32 * (4 - 4.5 / 8)


def test_outlier_columns_that_stay_16_bit_are_counted_in_the_size(llama):
    """Against `quantize`, which is given all that flowed into each layer."""
    threshold, inputs = 1.5, {}
    hooks = [module.register_forward_pre_hook(lambda _, given, name=name: inputs.setdefault(name, []).append(given[0][0]))
             for name, module in linear_layers(llama).items()]
    calibration = collect(llama, None, IDS)
    for hook in hooks:
        hook.remove()
    bits = kept = weights = 0
    for name, module in linear_layers(llama).items():
        found = quantize(module.weight, "LLM.int8()", activations=torch.cat(inputs[name]), threshold=threshold)
        bits, weights = bits + found.bits_per_weight * module.weight.numel(), weights + module.weight.numel()
        kept += found.kept.numel() if found.kept is not None else 0
    assert 0 < kept < weights
    for kind in ("static", "dynamic"):
        given = {"activations": kind, "calibration": calibration}
        with quantized_model(llama, "LLM.int8()", threshold=threshold, **given) as sizes:
            assert sizes.outlier_share == pytest.approx(kept / weights) and sizes.bits_per_weight == pytest.approx(bits / weights)
            assert sizes.bytes_before - sizes.bytes_after == pytest.approx(4 * weights - bits / 8, abs=1)
        with quantized_model(llama, "vector-wise", **given) as plain:
            assert plain.outlier_share == 0 and plain.bits_per_weight < sizes.bits_per_weight
    assert quantize_model(llama, "LLM.int8()", threshold=threshold, **given)[1].bits_per_weight == sizes.bits_per_weight
    with quantized_model(llama, "LLM.int8()", activations="dynamic") as unknown, quantized_model(llama, "LLM.int8()") as weights_alone:
        assert unknown.outlier_share is None and weights_alone.outlier_share == 0


def test_activations_travel_as_the_scheme_has_it(llama):
    name = "model.layers.0.mlp.up_proj"
    layer = linear_layers(llama, [name])[name]
    x = torch.randn(1, 7, 32, generator=torch.Generator().manual_seed(0))
    x[0, :, 5] *= 40
    exact = layer(x).detach()
    for scheme in ("absmax", "zero-point", "vector-wise", "LLM.int8()"):
        expected = quantize(layer.weight.detach(), scheme, activations=x).matmul_error
        with quantized_model(llama, scheme, layers=[name], activations="dynamic"):
            error = float((layer(x).detach() - exact).norm() / exact.norm())
        # Of a float32 weight, quantize keeps the outlier columns in fp16, a model in float32.
        assert error == pytest.approx(expected, rel=0.02 if scheme == "LLM.int8()" else 1e-3), scheme
    assert torch.equal(layer(x), exact), "no hook is left"
    with quantized_model(llama, "NF4", layers=[name], activations="dynamic"):
        assert torch.equal(layer(x), torch.nn.functional.linear(x, layer.weight)), "NF4 leaves activations alone"


def test_perplexity_is_the_models_own_loss(llama):
    losses = [llama(input_ids=torch.tensor([ids]), labels=torch.tensor([ids])).loss.item() for ids in IDS]
    nats, tokens = nats_per_token(llama, None, IDS)
    assert tokens == 11 * 6 and nats == pytest.approx(sum(losses) / 6, rel=1e-5)
    assert perplexity(llama, None, IDS) == pytest.approx(math.exp(nats))
    assert token_windows(llama, None, [list(range(10))], max_length=4) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    with pytest.raises(DataError, match="no text of two tokens"):
        perplexity(llama, None, [[1]])
    with pytest.raises(DataError, match="A row is NoneType"):
        perplexity(llama, None, [{"prompt": "no text column"}])


def test_sensitivity_one_layer_at_a_time(llama):
    before, seen = state(llama), []
    rows = list(sensitivity(llama, None, IDS, "absmax", bits=2, progress=lambda done, of: seen.append((done, of))))
    assert [row.layer for row in rows] == list(linear_layers(llama)) and seen[0] == (0, 14) and seen[-1] == (14, 14)
    base = perplexity(llama, None, IDS)
    with quantized_model(llama, "absmax", bits=2, layers=[rows[3].layer]) as sizes:
        assert perplexity(llama, None, IDS) == rows[3].perplexity
    assert rows[3].difference == pytest.approx(rows[3].perplexity - base) and rows[3].bytes_saved == sizes.bytes_before - sizes.bytes_after
    assert same(llama, before)

    half = sensitivity(llama, None, IDS, "NF4", base=base)
    next(half)
    assert same(llama, before), "between rows the model is itself"
    half.close()
    assert same(llama, before)


def test_collected_inputs_are_those_of_the_layers(llama):
    llama.train()
    found = collect(llama, None, IDS, sample=20)
    assert llama.training
    llama.eval()
    name = "model.layers.1.self_attn.q_proj"
    given = []
    hook = linear_layers(llama)[name].register_forward_pre_hook(lambda module, x: given.append(x[0].detach()[0]))
    for ids in IDS:
        llama(input_ids=torch.tensor([ids]))
    hook.remove()
    every = torch.cat(given)
    seen = found[name]
    assert seen.tokens == 72 and seen.sample.shape == (20, 32)
    assert torch.equal(seen.column_maxima, every.abs().amax(0)) and torch.equal(seen.low, every.amin(0))
    assert all(bool((every == row).all(1).any()) for row in seen.sample), "each sampled token was there"
    assert len(seen.sample.unique(dim=0)) == 20
    assert not any(module._forward_pre_hooks for module in llama.modules()), "no hook is left"


def test_every_token_is_as_likely_to_be_sampled():
    collector_counts = torch.zeros(40)
    for seed in range(300):
        collector = activations._Collector("x", 10, torch.Generator().manual_seed(seed))
        for start in range(0, 40, 8):
            collector(None, (torch.arange(start, start + 8.0)[:, None],))
        collector_counts[collector.rows[:, 0].long()] += 1
    # 300 draws of 10 in 40: each token 75 times, with a standard deviation of 7.5.
    assert collector_counts.sum() == 3000 and float((collector_counts - 75).abs().max()) < 4 * 7.5


def test_static_scales_clip_what_calibration_did_not_see():
    generator = torch.Generator().manual_seed(0)
    seen = torch.randn(500, 24, generator=generator)
    calibration = activations.Inputs("layer", seen, seen.amin(0), seen.amax(0), 500)
    weight = torch.randn(16, 24, generator=generator)
    calm = {row.scheme: row for row in activations.compare(weight, calibration, torch.randn(100, 24, generator=generator))}
    loud = {row.scheme: row for row in activations.compare(weight, calibration, 5 * torch.randn(100, 24, generator=generator))}
    assert list(calm) == ["absmax", "zero-point", "vector-wise", "LLM.int8()"]
    for scheme, row in calm.items():
        assert row.static_db > 30 and row.dynamic_db > 35 and row.clipped < 0.001, scheme
        assert row.output_db < row.dynamic_db, "weights quantized too"
    for scheme in ("absmax", "zero-point", "vector-wise"):
        assert loud[scheme].static_db < 15 and loud[scheme].dynamic_db > 35 and loud[scheme].clipped > 0.3, scheme
    static = activations.StaticScale.of(calibration, Coder.of("absmax"))
    assert float(static(torch.full((1, 24), 99.0)).max()) == pytest.approx(float(seen.abs().max()))
    with pytest.raises(DataError, match="NF4 leaves activations in 16 bits"):
        activations.compare(weight, calibration, seen, ["NF4"])


def test_static_against_dynamic_in_a_model(llama):
    calibration, unseen = collect(llama, None, IDS[:4]), collect(llama, None, IDS[4:])
    rows = static_against_dynamic(llama, calibration, unseen, ["vector-wise"])
    assert [row.layer for row in rows] == list(linear_layers(llama))
    assert all(row.dynamic_db > row.static_db for row in rows), "a scale for each token against one for all"
    with quantized_model(llama, "vector-wise", activations="static", calibration=calibration):
        static = perplexity(llama, None, IDS[4:])
    assert static == pytest.approx(perplexity(llama, None, IDS[4:]), rel=0.05)
    others = r"Static scales need ranges.*texts\[::2\]\), and measure on texts\[1::2\]"
    with pytest.raises(WorkbenchError, match=others), quantized_model(llama, "absmax", activations="static"):
        pass
    with pytest.raises(WorkbenchError, match="Activations cannot be"), quantized_model(llama, "absmax", activations="sometimes"):
        pass


@pytest.mark.parametrize("name", ["town", "stories260k"])
def test_real_models(name, request):
    """Eight bits cost a trained model next to nothing, two bits nearly everything."""
    from workbench.models import loading
    from workbench.recipes import resolve_model
    from workbench.town import documents

    folder = resolve_model("town") if name == "town" else request.getfixturevalue("real_data") / "stories260k"
    model, tokenizer = loading.load(folder)
    texts = documents.sample_texts(6) if name == "town" else [
        "Once upon a time, there was a little girl named Lily. She loved to play outside in the park with her friends.",
        "One day, Tom and his dog went to the big lake. They saw a boat and wanted to play with it."]
    before = state(model)
    base = perplexity(model, tokenizer, texts)
    found = {}
    for bits in (8, 2):
        with quantized_model(model, "vector-wise", bits=bits):
            found[bits] = perplexity(model, tokenizer, texts)
    assert found[8] == pytest.approx(base, rel=0.02) and found[2] > 3 * base
    assert same(model, before)
