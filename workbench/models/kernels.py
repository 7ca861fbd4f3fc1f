"""Which kernels a run may ask for on this machine: attention by name, a compiled forward pass. Asked before anything starts.

    check("flash", compiled=False, precision="auto")    -> None, or RecipeError("attention is 'flash', and this machine shows no GPU.", ...)

Imports no torch, so that a notebook knows at once: a GPU is what the driver's files show, a package what can be found. Not here: the
kernels (`training/varlen.py`), and whether the GPU that is there can run them, which the worker tries on a few numbers.
"""

import importlib.util
import os
import shutil
import sysconfig
from pathlib import Path

from workbench.errors import RecipeError

ATTENTION = ("auto", "sdpa", "eager", "flash")
"""auto is sdpa, and for packed rows the quickest way the machine has that keeps examples apart; sdpa and eager are transformers' own with a
mask; flash is a kernel for rows of any lengths end to end."""
DRIVER = (Path("/proc/driver/nvidia/version"), Path("/dev/nvidia0"), Path("/dev/dxg"))
"""Any of these is there where an NVIDIA driver is (the last one: in WSL)."""
FLASH = ("flash_attn", "torch.nn.attention.varlen")
"""Modules that have such a kernel, the first found is taken."""


def gpu_there() -> bool:
    """Whether a process started now would see a GPU."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1")
    return not hidden and any(path.exists() for path in DRIVER)


def flash_module() -> str | None:
    """The module whose kernel flash attention would take; None where there is none."""
    return next((name for name in FLASH if _found(name)), None)


def check(attention: str, compiled: bool, precision: str) -> None:
    """Raises `RecipeError` where this machine cannot do what is asked."""
    if attention == "flash":
        if not gpu_there():
            raise RecipeError("attention is 'flash', and this machine shows no GPU.", 'Use attention="auto".')
        if flash_module() is None:
            raise RecipeError(
                "attention is 'flash', and neither the package flash-attn nor a torch with varlen attention is installed.",
                'pip install flash-attn --no-build-isolation, or use attention="auto".',
            )
        if precision == "fp32":
            raise RecipeError("attention is 'flash', which computes in 16 bits, and precision is 'fp32'.", 'Use precision="bf16".')
    if compiled and (missing := compiler_missing()):
        raise RecipeError(
            f"compile is True, and {missing}.", "Install g++ and Python's headers (apt install g++ python3-dev), or use compile=False."
        )


def compiler_missing() -> str:
    """What torch.compile needs and this machine lacks, in words; "" where it has it all."""
    compiler = os.environ.get("CXX") or "g++"
    if shutil.which(compiler) is None:
        return f"torch.compile needs a C++ compiler: there is no {Path(compiler).name}"
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        return "torch.compile needs Python's headers: there is no Python.h"
    if gpu_there() and not _found("triton"):
        return "on a GPU torch.compile needs the package triton"
    return ""


def _found(module: str) -> bool:
    """Whether a module can be imported, without importing it: of a part of a package, whether its file lies there."""
    package, *inner = module.split(".")
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return False
    if spec is None or not inner:
        return spec is not None
    return any(Path(place, *inner).with_suffix(".py").exists() for place in spec.submodule_search_locations or ())
