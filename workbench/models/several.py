"""Several adapters on one base in memory: switch between them, or use another for each row of a batch.

The base is loaded once. Rows go through it together where peft can keep their adapters apart (LoRA without DoRA, `adapter_names` of peft's
forward); else those of one adapter at a time, to the same logits. Not here: methods whose adapters peft does not know (bottlenecks), and
sums of adapters.

Shapes: N rows, T tokens, V words of the vocabulary.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import WorkbenchError
from workbench.models import folders, loading
from workbench.models.merging import result_of
from workbench.models.quiet import quiet_peft

if TYPE_CHECKING:
    import torch

BASE = "__base__"
"""peft's name for a row without an adapter; here it is None."""


class Several:
    """`Several({"polite": folder, "short": run})`: adapter folders, or runs or their folders, by names of your choice.

    Raises `WorkbenchError`, before anything is loaded, where they do not stand on one base, loaded one way, or where peft cannot hold them
    beside each other: adapters of different types, or several that changed biases.
    """

    def __init__(self, adapters: Mapping[str, Any], *, dtype: Any = None, device: str = "cpu"):
        if not adapters:
            raise WorkbenchError("No adapters were given.", "Give them by name: Several({'polite': folder}).")
        self.folders = {name: result_of(getattr(source, "folder", source)) for name, source in adapters.items()}
        first, *others = self.folders
        for name, folder in self.folders.items():
            folders.check_source(str(folder))
            if not (folder / folders.PEFT_FILE).exists():
                raise WorkbenchError(f"{name} ({folder}) is no adapter of peft's.", "Open it alone with wb.load(folder).")
            base, other = self._base(self.folders[first]), self._base(folder)
            if base != other:
                raise WorkbenchError(f"{name} stands on {other[0]}, and {first} on {base[0]}, or on the same rounded otherwise.",
                                     "Put only adapters of one base together.")
        configs = {name: folders.said_by(folder, folders.PEFT_FILE) for name, folder in self.folders.items()}
        kinds = {name: config.get("peft_type") for name, config in configs.items()}
        unlike = next((name for name in others if kinds[name] != kinds[first]), None)
        if unlike is not None:
            raise WorkbenchError(f"{unlike} is of peft's type {kinds[unlike]}, and {first} of {kinds[first]}: peft holds one type at a time.",
                                 "Put only adapters of one type together.")
        biased = [name for name, config in configs.items() if config.get("bias", "none") != "none"]
        if len(biased) > 1:
            raise WorkbenchError(f"{' and '.join(biased)} changed the base's biases, and only one adapter can at a time.",
                                 'Train them with bias="none".')
        self.model, self.tokenizer = loading.load(self.folders[first], dtype=dtype, device=device, adapter_name=first)
        with quiet_peft():
            for name in others:
                self.model.load_adapter(str(self.folders[name]), name)
        self.model.eval()
        self.use(first)

    @staticmethod
    def _base(folder: Path) -> tuple[str, Any]:
        base = folders.base_of(folder)
        local = Path(base).expanduser()
        method = loading.method_of(folder)
        rounded = {name: str(value) for name, value in method.load_kwargs().items()} if method else {}
        return str(local.resolve()) if local.is_dir() else base, rounded

    @property
    def names(self) -> list[str]:
        return list(self.folders)

    @property
    def together(self) -> bool:
        """Whether rows with different adapters go through the base in one pass."""
        return all(config.peft_type == "LORA" and not config.use_dora for config in self.model.peft_config.values())

    def use(self, name: str) -> None:
        """From now on `model` is the one with this adapter. Raises `WorkbenchError` for a name that is none of them."""
        self._check([name])
        self.model.set_adapter(name)
        self.model.requires_grad_(False)  # peft takes a chosen adapter for one to be trained
        self.used = name

    def logits(self, input_ids: "torch.Tensor", adapters: Sequence[str | None],
               attention_mask: "torch.Tensor | None" = None) -> "torch.Tensor":
        """N × T × V for N × T tokens; `adapters` names one for each row, or None for the base alone. Which one is in use stays."""
        import torch

        self._check(adapters, len(input_ids))
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        with torch.no_grad():
            if self.together:
                names = [BASE if name is None else name for name in adapters]
                return self.model(input_ids=input_ids, attention_mask=mask, use_cache=False, adapter_names=names).logits
            parts = {name: [row for row, wanted in enumerate(adapters) if wanted == name] for name in dict.fromkeys(adapters)}
            found: list[Any] = [None] * len(input_ids)
            for name, rows in parts.items():
                given = {"input_ids": input_ids[rows], "attention_mask": mask[rows], "use_cache": False}
                part = self._alone(name, lambda given=given: self.model(**given))
                for row, one in zip(rows, part.logits, strict=True):
                    found[row] = one
        return torch.stack(found)

    def replies(self, prompts: Sequence[str], adapters: Sequence[str | None], max_new_tokens: int = 64) -> list[str]:
        """The greedy continuation of each prompt, a text, by the adapter named for it."""
        self._check(adapters, len(prompts))
        out = []
        for prompt, name in zip(prompts, adapters, strict=True):
            ids = self.tokenizer(prompt).input_ids
            out.append(self._alone(name, lambda ids=ids: loading.generate(self.model, self.tokenizer, ids, max_new_tokens=max_new_tokens)))
        return out

    def _alone(self, name: str | None, act: Any) -> Any:
        """What `act` gives with this adapter for every row; the one in use is put back."""
        before = self.used
        try:
            if name is None:
                with self.model.disable_adapter():
                    return act()
            self.use(name)
            return act()
        finally:
            self.use(before)

    def _check(self, wanted: Sequence[str | None], rows: int | None = None) -> None:
        for name in wanted:
            if name is not None and name not in self.folders:
                raise WorkbenchError(f"There is no adapter called {name!r}.", f"They are {', '.join(self.folders)}.")
        if rows is not None and len(wanted) != rows:
            raise WorkbenchError(f"{len(wanted)} adapters were named for {rows} rows.", "Name one for each row, None for the base alone.")
