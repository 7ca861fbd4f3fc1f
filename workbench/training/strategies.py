"""How several processes share one model, and the proof that they really do.

A launch that is not what was asked trains on all the same: on a CPU `accelerate launch` runs one process and drops FSDP without a word.
So processes count each other before anything is loaded (`meet`), and before the first step the model itself is looked at (`prove`): wrapped
by DDP, cut up as DTensors, or held by DeepSpeed at the stage asked for, with the numbers each process really holds. Not here: who starts
the processes (`launched.py`, torchrun).
"""

import datetime
import os
import socket
from typing import Any

import torch

from workbench import launching
from workbench.errors import RunError
from workbench.journal import events as ev
from workbench.launching import Launch
from workbench.training import together
from workbench.training.ranks import STORE

PATIENCE = datetime.timedelta(minutes=30)
"""How long a process waits for the others: one may be loading, or answer a question that a notebook asked."""


def arguments(launch: Launch | None) -> dict[str, Any]:
    """What `transformers.TrainingArguments` is given for a launch."""
    if launch is None:
        return {}
    shared: dict[str, Any] = {"ddp_timeout": int(PATIENCE.total_seconds())}
    if launch.strategy == "fsdp":
        shared |= {"fsdp": True, "fsdp_config": {"version": 2, "state_dict_type": "FULL_STATE_DICT", "reshard_after_forward": True}}
    elif launch.strategy in launching.DEEPSPEED:
        stage = int(launch.strategy.removeprefix("zero"))
        zero = {"stage": stage} | ({"stage3_gather_16bit_weights_on_model_save": True} if stage == 3 else {})
        automatic = ("train_micro_batch_size_per_gpu", "train_batch_size", "gradient_accumulation_steps", "gradient_clipping")
        shared["deepspeed"] = dict.fromkeys(automatic, "auto") | {
            "zero_optimization": zero, "bf16": {"enabled": "auto"}, "fp16": {"enabled": "auto"}, "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False}
    return shared


def let_shard(args: Any) -> None:
    """Before the trainer makes its accelerator: accelerate cuts a model up between GPUs alone, and on a CPU leaves FSDP out without a word.
    torch does it on a CPU as well, so accelerate is told that these are devices; `prove` looks at what came of it."""
    if args.fsdp_plugin_args is not None and args.device.type == "cpu" and together.world() > 1:
        from accelerate import PartialState
        from accelerate.utils import DistributedType

        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU


def meet(launch: Launch) -> None:
    """Join the others. Raises `RunError` where they are not as many as the launch asks for, or share a GPU."""
    told = int(os.environ.get("WORLD_SIZE", "1"))
    if told == launch.world:
        cuda = torch.cuda.is_available()
        if cuda and torch.cuda.device_count() < launch.processes:
            raise RunError(f"{launch.processes} processes were asked for, and this machine has {torch.cuda.device_count()} GPUs.",
                           f"Use wb.Launch(processes={torch.cuda.device_count()}), or hide the GPUs: CUDA_VISIBLE_DEVICES=''.")
        if cuda:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        store = os.environ.get(STORE)
        torch.distributed.init_process_group("nccl" if cuda else "gloo", init_method=f"file://{store}" if store else "env://", timeout=PATIENCE,
                                             rank=int(os.environ["RANK"]), world_size=told)
    found = len(set(together.gathered((socket.gethostname(), os.getpid())))) if told == launch.world else told
    if found != launch.world:
        raise RunError(f"{launch.world} processes were asked for, and {found} run.",
                       f"Start them with torchrun --nproc-per-node={launch.processes} --nnodes={launch.machines}, as wb.launch_command says.")


def prove(trainer: Any, launch: Launch) -> ev.Launched:
    """What really runs. Raises `RunError` where it is not what was asked; every process calls it."""
    kind, share = held(trainer)
    told = together.gathered((socket.gethostname(), os.getpid(), kind, share, trainer.args.world_size))
    hosts, pids, kinds, shares, worlds = (list(column) for column in zip(*told, strict=True))
    odd = sorted({f"{other} ({portion:.0%} of the weights on a process)" for other, portion in zip(kinds, shares, strict=True)
                  if other != launch.strategy or launch.sharded and portion > 0.5 + 0.5 / launch.world})
    if odd or set(worlds) != {launch.world}:
        raise RunError(f"{launch.world} processes under {launch.strategy} were asked for; what runs is {', '.join(odd) or launch.strategy} "
                       f"with a world of {', '.join(map(str, sorted(set(worlds))))}.",
                       'Use strategy="ddp", which every machine can do.')
    return ev.Launched(step=trainer.state.global_step, strategy=launch.strategy, pids=pids, hosts=hosts, shares=shares,
                       backend=torch.distributed.get_backend())


def held(trainer: Any) -> tuple[str, float]:
    """The strategy that the trainer's model shows, and the share of its weights that this process holds."""
    model = trainer.model_wrapped
    if type(model).__name__ == "DeepSpeedEngine":
        parameters = list(model.module.parameters())
        everything = sum(getattr(p, "ds_numel", p.numel()) for p in parameters)
        here = sum(p.ds_tensor.numel() if hasattr(p, "ds_tensor") else p.numel() for p in parameters)
        return f"zero{model.zero_optimization_stage()}", here / everything
    parameters = list(model.parameters())
    here = sum(p.to_local().numel() if hasattr(p, "to_local") else p.numel() for p in parameters)
    everything = sum(p.numel() for p in parameters)
    if any(hasattr(p, "to_local") for p in parameters):
        return "fsdp", here / everything
    if isinstance(model, torch.nn.parallel.DistributedDataParallel):
        return "ddp", 1.0
    return "one process" if together.world() == 1 else "no strategy", 1.0


def settle(launch: Launch) -> None:
    """Have this process use its part of the machine."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    torch.set_num_threads(int(asked) if asked.isdecimal() and int(asked) else max(1, (os.cpu_count() or 1) // launch.processes))
    if launch.strategy in launching.DEEPSPEED and not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
        import deepspeed

        # it would be compiled here, which takes a compiler and minutes, and a process killed meanwhile keeps every later one waiting
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def part() -> None:
    """Leave the others, once all are done."""
    together.meet()
    torch.distributed.destroy_process_group()
