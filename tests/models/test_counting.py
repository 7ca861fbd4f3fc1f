"""Parameter counts on the meta device against the numbers that papers, peft's documentation and REFERENCE.md print."""

import pytest
import transformers

import workbench as wb
from workbench import town
from workbench.models.counting import count_parameters
from workbench.models.methods import BitFit, Freeze

GPT3 = transformers.OPTConfig(hidden_size=12288, num_hidden_layers=96, num_attention_heads=96, ffn_dim=4 * 12288, vocab_size=50272)
OPT_350M = transformers.OPTConfig(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, ffn_dim=4096, word_embed_proj_dim=512, do_layer_norm_before=False)
QWEN_3B = transformers.Qwen2Config(hidden_size=2048, intermediate_size=11008, num_hidden_layers=36, num_attention_heads=16, num_key_value_heads=2,
                                   vocab_size=151936, tie_word_embeddings=True)


@pytest.mark.parametrize(("config", "rank", "trained"), [
    (GPT3, 8, 37_748_736), (transformers.LlamaConfig(), 8, 4_194_304), (OPT_350M, 16, 1_572_864), (QWEN_3B, 16, 3_686_400)],
    ids=["gpt3", "llama-7b", "opt-350m", "qwen2.5-3b"])
def test_lora_on_query_and_value(config, rank, trained):
    method = wb.LoRA(rank=rank, target_modules=("q_proj", "v_proj"))
    before = config.to_dict()
    counted, total = count_parameters(config, method)
    assert counted == trained
    assert total == count_parameters(config)[1] + trained, "what is added is part of the whole"
    assert config.to_dict() == before
    if config is QWEN_3B:
        assert total == 3_089_625_088
