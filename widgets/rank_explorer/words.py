"""The rank explorer in words: the sentence under the figure, the numbers beside it, and the Python that gives the same without the panel.

Pure. The sentence says the worst first: what cannot be read, a rank that cut the update short; else how many directions the update uses.
"""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from widgets.frame.sheet import number
from widgets.frame.status import Sentence
from widgets.rank_explorer.figure import Look, Point, best_of, rival_of
from widgets.rank_explorer.spectra import Matrix, Spectra, middle, short
from widgets.rank_explorer.state import State

HELP = (
    "ΔW is what tuning added to a weight matrix: (alpha / r) B A of an adapter, or tuned minus base. Its singular values say how much it "
    "does in each direction; energy is their squared sum, and no matrix of rank r keeps more of it than the first r directions. φ(i, j) is "
    "the share of one adapter's first i directions that lies in the span of the other's first j (LoRA, Hu et al. 2021, section 7.2, "
    "equation 4): what two trainings found alike. A direction can be large and useless, so cut the adapter and score it, or train other "
    "ranks and see. Losses are compared seed by seed, on the same held-out rows, so a difference can be certain where the bars overlap."
)
SMALL_SHARE = 0.02
"""Of the loss: two losses closer than this are called the same where there are no intervals."""


def summary(look: Look, state: State, notes: Sequence[str] = (), failed: Sequence[str] = ()) -> Sentence:
    """What the figure shows now; `notes` are what the engine says of the source, `failed` what is missing."""
    spectra = look.spectra
    if all(matrix.total == 0 for matrix in spectra.matrices):
        return Sentence("warn", f"Nothing was changed: ΔW of all {len(spectra.matrices)} matrices is zero.")
    flat = _flat(spectra)
    kept = _kept(look) if flat and look.rank < spectra.rank else ""
    parts = [flat or _main(look), kept, _trained(look.points), _cut(look), _shared(look)]
    odd = [*failed, *(note for note in notes if spectra.variant in ("dora", "pissa") or "alpha" in note)]
    failures = _failed(look.points)
    return Sentence("warn" if flat or odd or failures else "ok", " ".join(part for part in (*parts, failures, *odd) if part))


def _flat(spectra: Spectra) -> str:
    """Where most matrices still use their last direction."""
    if spectra.kind != "adapter":
        return ""
    known = [matrix for matrix in spectra.matrices if matrix.total > 0]
    if spectra.rank == 1:
        return "Rank 1 holds one direction, so this spectrum cannot say whether more were wanted: train a higher rank to see."
    flat = [matrix for matrix in known if matrix.flat]
    if 2 * len(flat) <= len(known):
        return ""
    return (f"Rank {spectra.rank} is too small to tell: in {len(flat)} of {len(known)} matrices the last direction is used nearly as much "
            "as the others, so a higher rank may hold more.")


def _main(look: Look) -> str:
    spectra, rank = look.spectra, look.rank
    known = [matrix for matrix in spectra.matrices if matrix.total > 0]
    needs = [matrix.needs(.9) for matrix in known]
    of = f"{spectra.rank} directions" if spectra.kind == "adapter" else f"the {spectra.rank} largest directions"
    if any(need is None for need in needs):
        many = sum(need is None for need in needs)
        return f"{many} of {len(known)} updates have less than 90 % of their energy in {of}: this tuning is not of low rank."
    most = max(needs)
    if rank >= spectra.rank or rank >= most:
        text = f"90 % of every update lies in {_at_most(most, needs)} of {of}: rank {most} would hold it"
        return text + (f", and rank {rank} keeps {_percent(spectra.keeps(rank))} of all." if rank != most and rank < spectra.rank else ".")
    return _kept(look)


def _kept(look: Look) -> str:
    picked, rank = look.picked, look.rank
    if picked is None or picked.total == 0:
        return ""
    need = picked.needs(.9)
    text = f"Rank {rank} keeps {_percent(picked.keeps(rank))} of {picked.label}"
    if need and need > rank:
        text += f"; it needs {need} for 90 %"
        others = [(module, middle(m.want for m in look.spectra.matrices if m.module == module))
                  for module in look.spectra.modules if module != picked.module]
        if others:
            module, least = min(others, key=lambda pair: pair[1])
            if least < need:
                text += f", while {short(module)} needs about {number(round(least))}"
    return text + "."


def _at_most(most: int, needs: list[int]) -> str:
    return str(most) if min(needs) == most else f"at most {most}"


def _trained(points: Sequence[Point]) -> str:
    """The least rank that is not told from the best, or the suggested ranks against the same rank everywhere."""
    told = " ".join(_suggested(point, rival) for point in points
                    if point.suggested and point.loss is not None and (rival := rival_of(point, points)) is not None)
    points = [point for point in points if not point.suggested]
    ends = [point for point in points if point.loss is not None]
    waiting = [point for point in points if point.loss is None and point.status in ("running", "queued")]
    if told:
        return told
    if len(ends) < 2:
        return f"The sweep trains: {len(ends)} of {len(points)} ranks have ended." if waiting else ""
    best = best_of(points)
    within = [point for point in ends if point is not best and _differs(point, best) <= 0]
    least = min(within, key=lambda point: point.rank, default=best)
    if least.rank >= best.rank:
        higher = [str(point.rank) for point in within if point.apart is not None]
        others = f", rank {' and '.join(higher)} within error of it" if higher else ""
        return f"Trained, rank {best.rank} is the best{' so far' if waiting else ''} ({best.loss:.3f}){others}."
    told = "within error of" if least.apart is not None else "about as good as"
    so_far = ", the best so far" if waiting else ""
    return f"Trained, rank {least.rank} is {told} {best.rank}{so_far} {_numbers(least, best)}."


def _suggested(point: Point, same: Point) -> str:
    """The suggested ranks against one rank everywhere, at equal parameters."""
    how = {-1: "better than", 0: "not told from", 1: "worse than"}[_differs(point, same)]
    return f"Trained, the suggested ranks are {how} rank {same.rank} everywhere {_numbers(point, same)}."


def _differs(point: Point, rival: Point) -> int:
    """-1 where a point is better than its rival, 1 where it is worse, 0 where they are not told apart: seed by seed the 95 % interval of
    the difference holds 0, or without one they differ by hardly anything. Intervals of each alone say less: seeds differ in rows."""
    if point.apart is not None:
        _, low, high = point.apart
        return int(low > 0) - int(high < 0)
    more = point.loss - rival.loss
    return 0 if abs(more) <= SMALL_SHARE * abs(rival.loss) else 1 if more > 0 else -1


def _numbers(point: Point, rival: Point) -> str:
    """Two losses, and how far they are apart seed by seed."""
    apart = "" if point.apart is None else f"; seed by seed {_signed(point.apart[1])} to {_signed(point.apart[2])}"
    return f"({point.loss:.3f} and {rival.loss:.3f}{apart})"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def _failed(points: Sequence[Point]) -> str:
    failed = [point for point in points if point.status == "failed" and point.loss is None]
    return f"No run of rank {' or '.join(str(point.rank) for point in failed)} ended well; the run monitor shows why." if failed else ""


def _cut(look: Look) -> str:
    if look.whole is None:
        return ""
    gain = None if look.untuned is None else look.untuned - look.whole
    if not look.cuts:
        return f"Held-out loss is {look.whole:.3f} as trained" + (f", {look.untuned:.3f} without it." if gain else ".")
    rank, loss = min(look.cuts, key=lambda cut: abs(cut[0] - look.rank))
    kept = ""
    if gain and gain > 0 and loss < look.untuned:
        kept = f" and keeps {_percent(min(1.0, (look.untuned - loss) / gain))} of what tuning gained"
    return f"Cut to rank {rank}, its held-out loss is {loss:.3f} against {look.whole:.3f} as trained{kept}."


def _shared(look: Look) -> str:
    """What another adapter has in common."""
    if look.phi_map is None:
        return ""
    phi = middle(value for row in look.phi_map for value in row if value is not None)
    told = "" if look.chance is None else ", as by chance" if phi < 1.5 * look.chance else f", by chance it would be {look.chance:.2f}"
    return f"Of {look.other_name} it shares φ = {phi:.2f}{told}."


def _percent(share: float) -> str:
    percent = 100 * share
    return f"{percent:.0f} %" if percent < 99.5 else "nearly all" if share < 1 - 1e-9 else "all"


# ---- numbers beside the figure

def amount(count: float) -> str:
    """1 234 -> `1 234`, 2 400 000 -> `2.4 M`."""
    for size, letter in ((1e9, "G"), (1e6, "M")):
        if count >= size:
            return f"{number(count / size, 1 if count < 99.5 * size else 0)}\u202f{letter}"
    return number(count)


def memory(size: float) -> tuple[str, str]:
    """(number, unit) of bytes."""
    for unit, step in (("GiB", 2 ** 30), ("MiB", 2 ** 20)):
        if size >= step:
            return number(size / step, 2 if size < 10 * step else 1 if size < 100 * step else 0), unit
    return number(size / 1024), "KiB"


def pattern_rows(pattern: dict[str, int], spectra: Spectra) -> list[tuple[str, str]]:
    """(modules, ranks) of a suggested pattern, modules that get the same ranks together."""
    found: dict[str, list[int]] = {}
    for key, rank in pattern.items():
        matrix = spectra.named(key)
        found.setdefault(short(matrix.module if matrix else key.rsplit(".", 1)[-1]), []).append(rank)
    joined: dict[str, list[str]] = {}
    for module, ranks in found.items():
        low, high = min(ranks), max(ranks)
        joined.setdefault(str(low) if low == high else f"{low}–{high}", []).append(module)
    order = [short(module) for module in spectra.modules]
    place = {module: order.index(module) if module in order else len(order) for modules in joined.values() for module in modules}
    groups = [(sorted(modules, key=place.__getitem__), ranks) for ranks, modules in joined.items()]
    return [(", ".join(modules), ranks) for modules, ranks in sorted(groups, key=lambda group: place[group[0][0]])]


# ---- Python

def code(state: State, spectra: Spectra | None, base: str, picked: Matrix | None, budget: int, whole: bool,
         given_rows: bool = False, cut_base: str = "", kind: str = "LoRA", carried: dict[str, Any] | None = None,
         values: dict[str, list[Any]] | None = None, recipe: str = "") -> str:
    """Python that makes the same spectra and the same method. What trains stands at the end, as comments.

    `values` is what the button would sweep (`sweeping.values_of`), None where there is no such method; `recipe` the Python of what it
    trains. A method's `rank_pattern` among the values is the suggested one.
    """
    lines = ["import workbench as wb", "from workbench import adapters", ""]
    if not state.source:
        return "\n".join([*lines, 'spectrum = adapters.spectrum("runs/...")   # an adapter folder, or a run'])
    if whole:
        lines[1:1] = ["from workbench.recipes import resolve_model"]
        lines.append(f"spectrum = adapters.difference({state.source!r}, resolve_model({base!r}))")
    else:
        lines += [f"adapter = adapters.open_adapter({state.source!r})", "spectrum = adapters.spectrum(adapter)"]
    lines.append("ranks = adapters.energy_ranks(spectrum)   # by layer and module: those that hold 90 and 99 %")
    if state.other and picked is not None and not whole:
        lines.append(f"phi = adapters.similarity(adapter, {state.other!r}, {picked.layer}, {picked.module!r})")
    settings = (carried or {}) | state.settings()
    suggested = state.spread == "suggested" and any(getattr(value, "rank_pattern", None) for value in (values or {}).get("method", ()))
    if suggested:
        given = "spectrum" if not state.targets else f"spectrum[spectrum.module.isin({_modules(state, spectra)!r})]"
        lines.append(f"pattern = adapters.suggest_rank_pattern({given}, spectrum.attrs[\"shapes\"], budget={budget})")
    inside = [f"{name}={value!r}" for name, value in settings.items()] + (["rank_pattern=pattern"] if suggested else [])
    lines.append(f"method = wb.{kind}({', '.join(inside)})")
    if base:
        lines.append(f"trainable, total = wb.count_parameters({base!r}, method)")
    lines += ["", *_actions(state, whole, given_rows, cut_base, values, recipe)]
    return "\n".join(lines).rstrip()


def _modules(state: State, spectra: Spectra | None) -> list[str]:
    modules = spectra.modules if spectra else list(state.targets)
    return [module for module in modules if module.rsplit(".", 1)[-1] in state.targets]


def _actions(state: State, whole: bool, given_rows: bool, cut_base: str, values: dict[str, list[Any]] | None, recipe: str) -> list[str]:
    lines = []
    if state.cuts and not whole:
        ranks = sorted(int(rank) for rank in state.cuts)
        given = ", rows=rows" if given_rows else f", rows={state.rows!r}" if state.rows else ""
        given += f", base={cut_base!r}" if cut_base else ""
        lines += ["# rows: the held-out rows given to this panel"] if given_rows else []
        lines += ["from workbench.evaluation.truncation import truncation_losses",
                  f"cut = truncation_losses({state.source!r}, ranks={ranks!r}{given})"]
    if state.sweep:
        lines += [f"sweep = wb.Sweep({state.sweep!r})   # as wb.sweep gave it", "losses = sweep.table()"]
    elif values:
        lines += [*_values(values), f"# recipe = {recipe}",
                  f"# sweep = wb.sweep(recipe.replace(method=method), values, seeds={state.seeds}, runs={state.runs!r}, name='ranks')"]
    return lines


def _values(values: dict[str, list[Any]]) -> list[str]:
    """What a sweep varies: ranks on one line, methods on one each."""
    if "method" not in values:
        return [f"values = {values!r}"]
    return ["values = {'method': [", *(f"    {_written(method)}," for method in values["method"]), "]}"]


def _written(method: Any) -> str:
    """A method as Python, with its rank and what is not as usual."""
    usual, told = type(method)(), {field.name: getattr(method, field.name) for field in fields(method)}
    inside = [f"{name}={'pattern' if name == 'rank_pattern' else repr(value)}" for name, value in told.items()
              if name == "rank" or value != getattr(usual, name)]
    return f"wb.{type(method).__name__}({', '.join(inside)})"
