"""A transformers folder as a GGUF file, by llama.cpp's own converter where it is on this machine. Not here: quantizing it further, which
llama.cpp does.

The converter is `convert_hf_to_gguf.py` of a llama.cpp checkout: named by the environment variable LLAMA_CPP (the checkout, or the script),
or found on PATH.

Which models it takes is llama.cpp's business. A byte-pair tokenizer it tells by a hash of what it makes of a fixed text, looked up in a
table of known ones (`get_vocab_base_pre`): a tokenizer that was trained for one model, as those of the town's models were, is most likely
not in it, and the converter then refuses. Tested here is how the converter is called and what is said when it fails; no GGUF of a town
model has been run in llama.cpp.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from workbench.errors import WorkbenchError

SCRIPT = "convert_hf_to_gguf.py"
MAGIC = b"GGUF"
PRECISIONS = ("f32", "f16", "bf16", "q8_0", "auto")
UNKNOWN_TOKENIZER = ("pre-tokenizer was not recognized", "get_vocab_base_pre")
"""What the converter says of a byte-pair tokenizer that its table does not have."""


def converter() -> Path:
    """Where the converter is. Raises `WorkbenchError` where it is not."""
    told = os.environ.get("LLAMA_CPP", "")
    if told:
        path = Path(told).expanduser()
        path = path / SCRIPT if path.is_dir() else path
        if not path.is_file():
            raise WorkbenchError(f"LLAMA_CPP names {told}, and there is no {SCRIPT}.", "Set it to a checkout of llama.cpp.")
        return path
    found = shutil.which(SCRIPT) or shutil.which("convert-hf-to-gguf")
    if found is None:
        raise WorkbenchError(
            f"llama.cpp's converter {SCRIPT} is not on this machine.",
            "Clone llama.cpp, install its requirements/requirements-convert_hf_to_gguf.txt, and set LLAMA_CPP to its folder.",
        )
    return Path(found)


def convert(model: Path, file: Path, precision: str = "f16") -> Path:
    """Write the whole model in the folder `model` to `file`; returns it. Raises `WorkbenchError` with the converter's last words where it
    fails."""
    if precision not in PRECISIONS:
        raise WorkbenchError(f"precision is {precision!r}, which is none of {', '.join(PRECISIONS)}.", 'Use precision="f16".')
    script = converter()
    # as a program of its own where it is one (a packaged converter); the checkout's script runs with this Python
    command = [sys.executable, str(script)] if script.suffix == ".py" else [str(script)]
    done = subprocess.run(
        [*command, str(model), "--outfile", str(file), "--outtype", precision], capture_output=True, text=True, errors="replace"
    )
    if done.returncode:
        words = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        if words and any(said in words[-1] for said in UNKNOWN_TOKENIZER):
            raise WorkbenchError("llama.cpp's converter does not know this model's tokenizer, and takes only those in a table of its own.",
                                 'Tune a base whose tokenizer llama.cpp knows (the town\'s is one of its own), or use form="merged".')
        raise WorkbenchError(f"llama.cpp's converter failed: {(words[-1] if words else 'it said nothing')[:300].rstrip('.')}.",
                             "It may be older than this kind of model, or miss a package: run it by hand to see more.")
    with open(file, "rb") as written:
        if written.read(len(MAGIC)) != MAGIC:
            raise WorkbenchError("llama.cpp's converter wrote a file that is no GGUF.", "Check which converter LLAMA_CPP or PATH names.")
    return file
