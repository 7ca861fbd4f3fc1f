"""Memory plans against the allocation timeline of torch's profiler on the CPU: models of 10 to 100 M parameters; full, LoRA and QLoRA;
three lengths.

Prints the table of docs/memory.md. On a machine with a GPU the peak that CUDA reports would be the thing to measure; here it is the CPU's
allocations.
"""

import pytest

from tests.models.memory_tools import model_of
from workbench.models import memory
from workbench.models.measuring import measure_step
from workbench.models.methods import Full, LoRA, QLoRA

WITHIN = 0.15
BATCH = 2
MODELS = {
    "Qwen2 10 M": model_of(layers=6, hidden=320, heads=5, kv_heads=5, inner=864, vocabulary=6000),
    "Llama 36 M": model_of(family="llama", layers=8, hidden=512, heads=8, kv_heads=4, inner=1376, vocabulary=12000, tied=False),
    "Qwen2 100 M": model_of(layers=12, hidden=768, heads=12, kv_heads=4, inner=2048, vocabulary=32000),
}
METHODS = {"full": Full(), "LoRA r = 8": LoRA(rank=8), "QLoRA 4 bits, r = 8": QLoRA(rank=8)}


@pytest.mark.timeout(3600)
def test_plans_against_the_profilers_peak(report, capsys):
    worst = 0.0
    with capsys.disabled():
        print("\n| model | method | tokens | measured, MiB | planned, MiB | planned / measured |\n|---|---|---|---|---|---|")
    for name, config in MODELS.items():
        for words, method in METHODS.items():
            for length in (128, 256, 512):
                settings = memory.Settings(sequence_length=length, batch_size=BATCH, precision="fp32")
                measured, plan = measure_step(config, method, settings), memory.plan(memory.architecture_of(config, method), settings)
                worst = max(worst, abs(plan.total / measured.peak - 1))
                with capsys.disabled():
                    print(
                        f"| {name} | {words} | {BATCH} × {length} | {measured.peak / 2**20:.1f} | {plan.total / 2**20:.1f} "
                        f"| {plan.total / measured.peak:.3f} |",
                        flush=True,
                    )
    report(device=measured.device, worst_share=worst, bound=WITHIN)
    assert worst <= WITHIN
