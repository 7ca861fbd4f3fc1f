"""Parameter counts on the meta device against the numbers that papers, peft's documentation and REFERENCE.md print."""

import pytest
import transformers

import workbench as wb
from tests.models import tools
from workbench import town
from workbench.models import loading
from workbench.models.counting import count_parameters
from workbench.models.methods import Adapters, BitFit, Freeze, Full, LoRA, Peft, PromptTuning, QLoRA

GPT3 = transformers.OPTConfig(hidden_size=12288, num_hidden_layers=96, num_attention_heads=96, ffn_dim=4 * 12288, vocab_size=50272)
OPT_350M = transformers.OPTConfig(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, ffn_dim=4096, word_embed_proj_dim=512, do_layer_norm_before=False)
QWEN_3B = transformers.Qwen2Config(hidden_size=2048, intermediate_size=11008, num_hidden_layers=36, num_attention_heads=16, num_key_value_heads=2,
                                   vocab_size=151936, tie_word_embeddings=True)
BLOOMZ_560M = transformers.BloomConfig(hidden_size=1024, n_layer=24, n_head=16, vocab_size=250880)
BERT_BASE = transformers.BertConfig()
BERT_LARGE = transformers.BertConfig(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096)


@pytest.mark.parametrize(("config", "rank", "trained"), [
    (GPT3, 8, 37_748_736), (transformers.LlamaConfig(), 8, 4_194_304), (OPT_350M, 16, 1_572_864), (QWEN_3B, 16, 3_686_400)],
    ids=["gpt3", "llama-7b", "opt-350m", "qwen2.5-3b"])
def test_lora_on_query_and_value(config, rank, trained):
    before = config.to_dict()
    counted, total = count_parameters(config, LoRA(rank=rank, target_modules=("q_proj", "v_proj")))
    assert counted == trained and config.to_dict() == before
    if config is QWEN_3B:
        assert total == 3_089_625_088
        assert total == count_parameters(config)[1] + trained, "what is added is part of the whole"


@pytest.mark.parametrize(("config", "method", "trained"), [
    (BLOOMZ_560M, PromptTuning(tokens=8), 8_192),
    (BLOOMZ_560M, Peft(config={"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 20}), 983_040),
    (BERT_BASE, BitFit(), 102_912),
    (BERT_LARGE, Adapters(size=64), 6_441_984),
], ids=["prompt", "prefix", "bitfit", "adapters"])
def test_the_other_methods_printed_numbers(config, method, trained):
    assert count_parameters(config, method)[0] == trained


@pytest.mark.parametrize("size", [8, 32])
def test_adapters_are_as_the_formula_says_at_other_sizes(size):
    layers, d = BERT_BASE.num_hidden_layers, BERT_BASE.hidden_size
    bottlenecks = layers * 2 * (2 * size * d + size + d)  # REFERENCE.md: L·2(2md + m + d) + 4Ld, the last for the two layer norms of each block
    assert count_parameters(BERT_BASE, Adapters(size=size))[0] == bottlenecks + 4 * layers * d
    assert count_parameters(BERT_BASE, Adapters(size=size, layer_norms=False))[0] == bottlenecks


def test_lora_of_every_matrix_is_rank_times_both_sides():
    config = tools.small_llama()
    d, kv, inner = config.hidden_size, config.head_dim * config.num_key_value_heads, config.intermediate_size
    sides = 2 * (d + d) + 2 * (d + kv) + 3 * (d + inner)  # q and o; k and v; gate, up and down
    assert count_parameters(config, LoRA(rank=3))[0] == config.num_hidden_layers * 3 * sides
    rows = 2 * d + 2 * kv + 2 * inner + d  # DoRA adds a length for each row of W: q, o; k, v; gate, up; down
    assert count_parameters(config, LoRA(rank=3, variant="dora"))[0] == config.num_hidden_layers * (3 * sides + rows)


def test_ranks_by_matrix_are_counted_as_they_are():
    config = tools.small_llama()
    d = config.hidden_size
    only_q = LoRA(rank=4, target_modules=("q_proj",))
    everywhere = config.num_hidden_layers * 4 * 2 * d
    assert count_parameters(config, only_q)[0] == everywhere
    patterned = LoRA(rank=4, target_modules=("q_proj",), rank_pattern={"layers.0.self_attn.q_proj": 1, "layers.1.self_attn.q_proj": 0})
    assert count_parameters(config, patterned)[0] == everywhere - 3 * 2 * d - 4 * 2 * d


@pytest.mark.parametrize("method", [LoRA(rank=2), LoRA(rank=2, variant="pissa"), LoRA(rank=2, variant="dora"), QLoRA(rank=2), QLoRA(rank=2, bits=8), Adapters(size=4),
                                    PromptTuning(tokens=3), BitFit(), Full(), Freeze(("layers.0",)), Peft(config={"peft_type": "IA3"})], ids=lambda m: type(m).__name__)
def test_counted_without_weights_as_peft_counts_with_them(method):
    base = str(town.base_folder("small"))
    adapted = method.apply(loading.load_base(base, method)[0])
    counted = wb.count_parameters("town-small", method)
    assert counted == count_parameters(adapted)
    if hasattr(adapted, "get_nb_trainable_parameters"):
        assert counted == adapted.get_nb_trainable_parameters()


def test_a_model_in_memory_is_counted_and_left_alone():
    model, _ = wb.load("town-small")
    before = {name: (id(parameter), parameter.requires_grad) for name, parameter in model.named_parameters()}
    assert count_parameters(model, LoRA(rank=2)) == wb.count_parameters("town-small", LoRA(rank=2))
    assert {name: (id(parameter), parameter.requires_grad) for name, parameter in model.named_parameters()} == before
    assert count_parameters(model) == (model.num_parameters(), model.num_parameters())
    with pytest.raises(wb.RecipeError, match="has an adapter already"):
        count_parameters(LoRA(rank=2).apply(model), BitFit())


@pytest.mark.parametrize("wrong", ["lora", LoRA])
def test_what_is_no_method_is_refused_in_a_sentence(wrong):
    from workbench.errors import RecipeError
    from workbench.sizing import count_parameters, plan_memory

    for ask in (count_parameters, plan_memory):
        with pytest.raises(RecipeError, match="is no method") as caught:
            ask("town-small", wrong)
        assert "wb.LoRA(rank=8)" in caught.value.remedy
