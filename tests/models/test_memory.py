"""The plan against the ZeRO paper's table, accelerate's estimator, bitsandbytes' tensors, what autograd keeps, and the profiler's timeline
on the CPU."""

import dataclasses
import itertools
import threading

import pytest
import torch
import transformers

from tests.models.memory_tools import kept_by_autograd, model_of
from workbench.errors import RecipeError, WorkbenchError
from workbench.models import activations, memory
from workbench.models.anatomy import read
from workbench.models.counting import count_parameters, skeleton
from workbench.models.measuring import Stopped, adapted, bytes_held, measure_step, peak_of_step
from workbench.models.methods import QAT, Adapters, BitFit, Freeze, Full, LoRA, Peft, PromptTuning, QLoRA

BATCH, LENGTH = 2, 33


# ---- states


@pytest.mark.parametrize(
    ("stage", "devices", "gigabytes"),
    [
        (0, 64, 120.0),
        (1, 64, 31.4),
        (2, 64, 16.6),
        (3, 64, 1.88),
        (0, 1, 120.0),
        (1, 4, 52.5),
        (2, 4, 41.3),
        (3, 4, 30.0),
        (1, 1024, 30.1),
        (2, 1024, 15.1),
        (3, 1024, 0.12),
    ],
)
def test_the_table_of_the_zero_paper(stage: int, devices: int, gigabytes: float) -> None:
    """Rajbhandari et al. 2020, figure 1 and table 1: 7.5 billion parameters, mixed-precision Adam."""
    plan = memory.plan_memory(7_500_000_000, zero_stage=stage, devices=devices)
    assert plan.total / 1e9 == pytest.approx(gigabytes, abs=0.051 if gigabytes > 2 else 0.006)
    assert sum(plan.values()) == plan.total and plan.trainable == 7_500_000_000


@pytest.mark.parametrize("devices", [1, 3, 16, 400])
@pytest.mark.parametrize("count", [128_000_000, 1_000_000_000_000])
def test_the_formulas_of_the_zero_paper_at_other_sizes(count: int, devices: int) -> None:
    """Section 3: 2 + 2 + K bytes a parameter with K = 12, of which each stage shares out one more."""
    expected = [16 * count, 4 * count + 12 * count / devices, 2 * count + 14 * count / devices, 16 * count / devices]
    got = [memory.plan_memory(count, zero_stage=stage, devices=devices).total for stage in range(4)]
    assert got == pytest.approx(expected, abs=3)
    assert memory.plan_memory(count, zero_stage="fsdp", devices=devices).total == got[3]


@pytest.mark.parametrize(
    ("precision", "convention", "optimizer", "each"),
    [
        ("bf16", "zero", "adamw", (2, 2, 12)),
        ("fp16", "transformers", "adamw", (6, 4, 8)),
        ("fp32", "zero", "adamw", (4, 4, 8)),
        ("bf16", 18, "adamw_torch", (6, 4, 8)),
        ("pure bf16", "zero", "adamw", (2, 2, 4)),
        ("bf16", "zero", "sgd", (2, 2, 4)),
        ("fp32", "zero", "adamw_8bit", (4, 4, 2.03125)),
        ("bf16", "transformers", "paged_adamw_8bit", (6, 4, 2.03125)),
        ("fp32", "zero", "lion_32bit", (4, 4, 4)),
    ],
)
def test_bytes_a_parameter(precision: str, convention: str | int, optimizer: str, each: tuple[float, ...]) -> None:
    """16 of the ZeRO paper, 18 of transformers' page on GPU memory; 8-bit states have a fp32 scale each 256, two of them with Adam (2 + 2 *
    4 / 256)."""
    plan = memory.plan_memory(1_000_000, precision=precision, convention=convention, optimizer=optimizer)
    assert [plan[name] for name in ("weights", "gradients", "optimizer")] == [pytest.approx(1_000_000 * value) for value in each]


def test_trained_and_frozen_are_counted_apart() -> None:
    config, method = model_of(), LoRA(rank=4)
    trainable, total = count_parameters(config, method)
    plan = memory.plan_memory(config, method)
    assert (plan.trainable, plan.frozen) == (trainable, total - trainable)
    assert plan["gradients"] == 2 * trainable and plan["optimizer"] == 12 * trainable and plan["weights"] == 2 * total


@pytest.mark.parametrize(
    "config",
    [
        transformers.BertConfig(vocab_size=28996),
        transformers.GPT2Config(),
        model_of(),
        model_of(family="llama", tied=False),
        transformers.T5Config(num_layers=2),
    ],
    ids=lambda config: config.model_type,
)
def test_reading_takes_what_accelerate_says(config: transformers.PretrainedConfig) -> None:
    """accelerate's `estimate-memory`: its own sum over the model on the meta device, divided for the narrower types."""
    from accelerate.utils import calculate_maximum_sizes

    with torch.device("meta"):
        model = transformers.AutoModel.from_config(config)
    whole, _ = calculate_maximum_sizes(model)
    for precision, divisor in (("fp32", 1), ("fp16", 2), ("int8", 4), ("int4", 8)):
        plan = memory.plan_memory(model, training=False, precision=precision, sequence_length=0)
        assert plan.total == pytest.approx(whole / divisor, abs=1)


def test_the_figures_that_accelerate_prints_for_bert() -> None:
    config = transformers.BertConfig(vocab_size=28996)
    plans = [
        memory.plan_memory(config, training=False, precision=precision, sequence_length=0) for precision in ("fp32", "fp16", "int8", "int4")
    ]
    assert plans[0].architecture.parameters == 108_310_272
    assert [round(plan.total / 2**20, 2) for plan in plans] == [413.18, 206.59, 103.29, 51.65]


@pytest.mark.parametrize("method", [QLoRA(rank=4), QLoRA(rank=4, double=False), QLoRA(rank=4, bits=8)], ids=["double", "single", "8 bits"])
def test_quantized_weights_take_what_bitsandbytes_makes_of_them(method: QLoRA) -> None:
    config = model_of(hidden=128, inner=352)
    model = adapted(config, method)
    planned, loaded = memory.plan_memory(config, method, precision="fp32"), memory.plan_memory(model, precision="fp32")
    assert planned["weights"] == pytest.approx(bytes_held(model)["weights"], rel=0.03)  # each matrix brings a code book of 64 bytes as well
    assert dict(loaded) == dict(planned) and (loaded.trainable, loaded.frozen) == (planned.trainable, planned.frozen)


def test_constants_of_four_bits_are_as_the_qlora_paper_says() -> None:
    """Dettmers et al. 2023, section 3: 0.5 bits a parameter, 0.127 quantized again."""
    single, double = (memory.architecture_of(model_of(), QLoRA(rank=4, double=double)).constants * 8 for double in (False, True))
    assert single == 0.5 and round(double, 3) == 0.127


# ---- activations

FAMILIES = {
    "qwen2": model_of(layers=3),
    "llama": model_of(layers=3, family="llama", kv_heads=4, tied=False),
    "qwen3": model_of(layers=3, family="qwen3"),
    "gpt2": transformers.GPT2Config(
        vocab_size=1000, n_embd=64, n_layer=3, n_head=4, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, bos_token_id=0, eos_token_id=0
    ),
}
METHODS = {"full": Full(), "lora": LoRA(rank=4), "freeze": Freeze(patterns=("*layers.0*", "*h.0*"))}
NUMBERS = {"fp32": activations.FP32, "bf16": activations.HALF, "autocast": activations.AUTOCAST}


@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", FAMILIES)
def test_activations_are_what_autograd_keeps(family: str, attention: str, numbers: str) -> None:
    config = FAMILIES[family]
    for name, method in METHODS.items():
        if numbers != "fp32" and name != "full":
            continue  # adapters stay in fp32 beside 16-bit weights: looked at below
        if name == "freeze":
            method = dataclasses.replace(method, patterns=(method.patterns[family == "gpt2"],))
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention)
        model = method.apply(model.to(torch.bfloat16) if numbers == "bf16" else model)
        kept = kept_by_autograd(model, BATCH, LENGTH, numbers == "autocast")
        of = read(model)
        shared = (
            2 * LENGTH * of.rotary * NUMBERS[numbers].residual + 4 * BATCH * LENGTH * config.vocab_size
        )  # rotary tables, and the loss's log-probabilities
        reckoned = activations.kept_by_step(of, NUMBERS[numbers], BATCH, LENGTH, attention) + shared
        if numbers == "autocast":  # 16-bit copies of the matrices: in a plan these are weights
            reckoned += 2 * (sum(each.d_in * each.d_out for layer, count in of.stacks for each in layer.maps * count) + of.embedding)
        assert reckoned == pytest.approx(kept, rel=0.02), (name, attention)


def test_korthikanti_is_met_where_his_layer_is_ours() -> None:
    """Eq. 1: s b h (34 + 5 a s / h) bytes, of which 3 a s / h are dropout on the scores (a mask of one byte, a result of two), here left
    out."""
    config = transformers.GPT2Config(n_embd=768, n_layer=1, n_head=12, activation_function="gelu", attn_pdrop=0.0)
    layer, _ = memory.architecture_of(config).stacks[0]
    b, s, h, a = 4, 512, 768, 12
    ours = activations.layer_bytes(layer, activations.HALF, b, s, "eager", reached=True).kept
    assert ours == pytest.approx(s * b * h * (34 + 2 * a * s / h), rel=0.01)


def test_every_factor_moves_activations_as_it_should() -> None:
    config, method = model_of(layers=4), Full()

    def active(**changes) -> int:
        return memory.plan_memory(config, method, **{"sequence_length": 128, "batch_size": 4, "precision": "fp32"} | changes)["activations"]

    assert active(batch_size=8) == pytest.approx(2 * active(), rel=0.01)
    assert active(sequence_length=256) == pytest.approx(2 * active(), rel=0.01)
    assert active(sequence_length=256, attention="eager") > 2.2 * active(attention="eager")
    assert active(checkpointing=True) < 0.8 * active()
    assert active(precision="bf16") < 0.75 * active()
    assert active(attention="flash") == active()
    larger = memory.plan_memory(model_of(layers=4, vocabulary=4000), method, sequence_length=128, batch_size=4, precision="fp32")[
        "activations"
    ]
    assert (
        larger - active() == 3 * 4 * 4 * 128 * 3000
    )  # log-probabilities, their gradient and the logits': fp32, 4 x 128 tokens, 3 000 words more


def test_a_method_keeps_only_what_its_gradients_ask_for() -> None:
    config = model_of(layers=4, hidden=256, inner=704)
    full, lora, first = (
        memory.plan_memory(config, method, sequence_length=256, precision="fp32")["activations"]
        for method in (Full(), LoRA(rank=2), Freeze(patterns=("*layers.0.*", "*layers.1.*", "*layers.2.*", "*embed*")))
    )
    assert first < lora < full
    assert memory.plan_memory(config, BitFit(), sequence_length=256, precision="fp32")["activations"] < lora


# ---- the whole step

CASES = [
    pytest.param(method, length, options, id=" ".join([method.name, str(length), *options]))
    for method, length, options in [
        *itertools.product((Full(), LoRA(rank=8)), (64, 128, 256), ({},)),
        *itertools.product((Full(), LoRA(rank=8)), (128,), ({"checkpointing": True}, {"autocast": True})),
        *itertools.product((Full(),), (8, 64), ({"autocast": True}, {"autocast": True, "checkpointing": True})),
        (Adapters(size=16), 128, {}),
        (BitFit(), 128, {}),
        (Freeze(patterns=("*layers.0.*", "*embed*")), 128, {}),
        (LoRA(rank=8, variant="dora"), 128, {}),
        (PromptTuning(tokens=4), 128, {}),
        (QAT(), 128, {}),
        (QLoRA(rank=8), 128, {}),
    ]
]


@pytest.mark.parametrize(("method", "length", "options"), CASES)
def test_the_plan_is_the_peak_of_the_profilers_timeline(method, length: int, options: dict) -> None:
    """On the CPU; the table of larger models is printed by tests/benchmarks/test_memory.py."""
    config = model_of(layers=3, hidden=128, heads=4, inner=352, vocabulary=2000)
    measured = peak_of_step(adapted(config, method), batch=4, length=length, **options)
    plan = memory.plan_memory(
        config,
        method,
        sequence_length=length,
        batch_size=4,
        precision="bf16" if "autocast" in options else "fp32",
        convention="transformers",
        checkpointing="checkpointing" in options,
    )
    assert plan.total == pytest.approx(measured["peak"], rel=0.05)


def test_what_is_not_known_of_a_method_is_said() -> None:
    plan = memory.plan_memory(model_of(), Peft(config={"peft_type": "IA3"}))
    assert "IA3" in plan.notes[0] and "left out" in plan.notes[0]


def test_a_step_is_measured_in_a_process_of_its_own() -> None:
    config, settings = model_of(layers=3, hidden=128, inner=352), memory.Settings(sequence_length=64, batch_size=4, precision="fp32")
    found = measure_step(config, QLoRA(rank=4), settings)
    assert memory.plan(memory.architecture_of(config, QLoRA(rank=4)), settings).total == pytest.approx(found.peak, rel=0.05)
    assert found.device and 0 < found.held < found.peak
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        measure_step(config, None, settings, stop)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"devices": 2}, "one device"),
        ({"zero_stage": 1}, "one device"),
        ({"precision": "bf16"}, "DeepSpeed"),
        ({"optimizer": "adamw_8bit"}, "AdamW"),
        ({"batch_size": 10**9}, "free"),
    ],
)
def test_what_cannot_be_measured_here_is_said_before_it_is_tried(changes: dict, words: str) -> None:
    with pytest.raises(WorkbenchError, match=words) as found:
        measure_step(model_of(), None, dataclasses.replace(memory.Settings(precision="fp32"), **changes))
    assert found.value.remedy


def test_gradients_that_stay_are_added_to_the_worst_moment() -> None:
    once, summed = (
        memory.plan_memory(model_of(), Full(), sequence_length=256, precision="fp32", gradient_accumulation=count) for count in (1, 2)
    )
    assert dict(once) == dict(summed) and once.overlap > 0
    assert summed.total - once.total == pytest.approx(once["gradients"], abs=2)
    assert once.worst == "loss" and once.total == sum(once.moments["loss"].values())


def test_an_optimizer_that_works_on_all_tensors_at_once_needs_room_for_it() -> None:
    of, settings = memory.architecture_of(model_of(), Full()), memory.Settings(precision="fp32", batch_size=1, sequence_length=8)
    one, all_ = (memory.plan(of, dataclasses.replace(settings, foreach=foreach)) for foreach in (False, True))
    assert all_.worst == "optimizer step" and all_.total - 16 * of.trained == pytest.approx(4 * of.trained, rel=0.01)
    assert one.total < all_.total


def test_shared_out_layers_are_gathered_two_at_a_time() -> None:
    plain, shared = (memory.plan_memory(model_of(), Full(), zero_stage=3, devices=devices) for devices in (1, 4))
    assert shared["weights"] == pytest.approx(plain["weights"] / 4, abs=1)
    assert shared["buffers"] - plain["buffers"] == pytest.approx(
        2 * 2 * plain.architecture.largest_layer, rel=0.01, abs=2 * 4 * plain.architecture.largest_trained
    )


@pytest.mark.parametrize(
    "method",
    [Full(), LoRA(rank=4), QLoRA(rank=4), QLoRA(rank=4, bits=8), Adapters(size=8), BitFit(), PromptTuning(tokens=4), QAT()],
    ids=repr,
)
def test_sharing_out_never_takes_more_of_what_it_shares(method) -> None:
    """Every method, precision, stage and number of devices."""
    of = memory.architecture_of(model_of(), method)
    for precision, convention, optimizer in itertools.product(
        ("fp32", "bf16", "fp16", "pure bf16"), ("zero", "transformers"), ("adamw", "adamw_8bit", "sgd")
    ):
        for devices in (1, 2, 64):
            plans = [
                memory.plan_memory(of, precision=precision, convention=convention, optimizer=optimizer, zero_stage=stage, devices=devices)
                for stage in range(4)
            ]
            for name, least in (("optimizer", 1), ("gradients", 2), ("weights", 3)):
                for stage, plan in enumerate(plans):
                    whole = plans[0][name]
                    assert plan[name] == pytest.approx(whole / devices if stage >= least else whole, abs=2, rel=1e-6)
            assert all(0 < plan.total <= sum(plan.values()) and min(plan.values()) >= 0 for plan in plans)
            assert len({plan["activations"] for plan in plans}) == 1  # every device has rows of its own


def test_a_config_is_read_once_for_each_method_and_anew_where_it_changed() -> None:
    config = model_of(layers=3)
    first = memory.architecture_of(config, LoRA(rank=4))
    assert memory.architecture_of(model_of(layers=3), LoRA(rank=4)) is first
    assert memory.architecture_of(config, LoRA(rank=8)).trained == 2 * first.trained
    config.num_hidden_layers, config.layer_types = 2, config.layer_types[:2]
    assert memory.architecture_of(config, LoRA(rank=4)).trained * 3 == first.trained * 2


# ---- what cannot be


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_size": -1}, "batch_size"),
        ({"precision": "int4"}, "int4"),
        ({"precision": "fp8"}, "none of"),
        ({"zero_stage": 4}, "zero_stage"),
        ({"devices": 0}, "devices"),
        ({"optimizer": "magic"}, "magic"),
        ({"attention": "linear"}, "attention"),
        ({"convention": "mine"}, "convention"),
    ],
)
def test_what_cannot_be_planned_is_said_in_a_sentence(changes: dict, words: str) -> None:
    with pytest.raises(RecipeError, match=words) as found:
        memory.plan_memory(1000, **changes)
    assert found.value.remedy


def test_a_number_of_parameters_knows_no_matrices() -> None:
    with pytest.raises(RecipeError, match="matrices"):
        memory.plan_memory(7_000_000_000, LoRA(rank=8))
    assert "activations are not known" in memory.plan_memory(1000).notes[0]


def test_what_is_not_known_of_a_model_is_said() -> None:
    plan = memory.plan_memory(transformers.T5Config(num_layers=2), Full())
    assert plan["activations"] == 0 and "left out" in plan.notes[0]
    assert plan["optimizer"] == 12 * count_parameters(transformers.T5Config(num_layers=2), Full())[0]
    assert "512" in memory.plan_memory(skeleton(transformers.BertConfig()), sequence_length=600).notes[0]


def test_the_public_names_know_the_town() -> None:
    import workbench as wb

    trainable, total = wb.count_parameters("town-small", wb.LoRA(rank=4))
    plan = wb.plan_memory("town-small", wb.LoRA(rank=4), sequence_length=64, batch_size=2, precision="fp32")
    assert (plan.trainable, plan.frozen) == (trainable, total - trainable) and 0 < trainable < total
    assert plan["weights"] == 4 * total and plan["optimizer"] == 8 * trainable


def test_a_recipe_is_planned_as_it_will_run() -> None:
    import workbench as wb
    from workbench.sizing import plan_of

    recipe = wb.Recipe(model="town-small", method=wb.Full(), batch_size=4, max_length=96, optimizer="adamw_torch")
    expected = wb.plan_memory("town-small", wb.Full(), sequence_length=96, batch_size=4, precision="fp32", convention="transformers")
    assert dict(plan_of(recipe)) == dict(expected)
    assert plan_of(recipe, cuda=True)["weights"] == expected["weights"] * 6 / 4
