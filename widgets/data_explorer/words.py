"""The data explorer in words: the sentence under it, and the Python that gives the same rows without it.

Pure. The sentence says the worst thing first: a leak flatters every later score, private details cannot be unlearned, copies only cost.
"""

from collections import Counter
from typing import Any

import numpy as np

from widgets.data_explorer.findings import Findings
from widgets.data_explorer.state import LOWEST_LIKENESS, State, Where
from widgets.data_explorer.view import Decided, shown
from widgets.frame.sheet import number
from widgets.frame.status import Sentence
from workbench.data import cleaning
from workbench.data.overlap import RUN, SHORTEST

HELP = (
    "Each histogram counts rows; drag over one to see only those rows, in the table and in the other histograms (double click: all again). "
    "Grey is every row, blue what is shown, striped what is shown and dropped; a bin of one row is drawn high enough to be seen. Copies are "
    f"rows whose runs of three words agree to the share (Jaccard) set beside them; a leak is a run of {RUN} words that also stands in the "
    "test set, or a shorter test row as a whole (Brown et al. 2020). A row of high loss is "
    "hard, rare or wrong: read it before you drop it. In the table: arrows move, d drops, k keeps, f flags, Space picks, u undoes."
)
FINDINGS = ("leaks", "private", "copies", "suspicious")


def summary(findings: Findings, decided: Decided, where: Where, seen: int, looking: str = "") -> Sentence:
    """What the rows and the figure say now. `seen` is how many rows are shown, `looking` what is still looked for."""
    count, left = findings.count, int((~decided.dropped).sum())
    open_ = {show: int((shown(Where(show=show, threshold=where.threshold), findings) & ~decided.dropped).sum()) for show in FINDINGS}
    rows = f"{number(left)} of {number(count)} rows kept" if left < count else f"{number(count)} rows"
    tail = "" if where.everything else f"; {number(seen)} shown"
    flagged = int(decided.flagged.sum())
    tail = (f", {number(flagged)} flagged" if flagged else "") + tail
    if looking:
        return Sentence("idle", f"{rows}{tail}; {looking}.")
    if left == 0:
        return Sentence("warn", f"All {number(count)} rows are dropped, so nothing is left to train on: keep some.")
    clauses = []
    if open_["leaks"]:
        clauses.append(_leaked(open_["leaks"], int((~decided.dropped[findings.leaks_whole]).sum())))
    if open_["private"]:
        kinds = Counter(findings.private["kind"][~decided.dropped[findings.private["row"].to_numpy(np.int64)]])
        clauses.append(f"{_rows(open_['private'], 'hold')} private details ({', '.join(kind for kind, _ in kinds.most_common(2))})")
    if open_["copies"]:
        clauses.append(f"{_rows(open_['copies'])} {'an extra copy' if open_['copies'] == 1 else 'extra copies'} of another row")
    if clauses:
        return Sentence("warn", "; ".join(clauses) + f". {rows[0].upper()}{rows[1:]}{tail}.")
    hard = f"; {number(open_['suspicious'])} with a suspiciously high loss" if open_["suspicious"] else ""
    return Sentence("ok", f"{rows}{hard}{tail}. {_nothing(findings)}")


def _leaked(count: int, whole: int) -> str:
    """Rows of one wording share runs of words by nature; those that stand in the test set whole are told apart."""
    if whole == count:
        return f"{_rows(count)} also in the test set, so a score on it would flatter"
    shared = f"{number(count)} row{'' if count == 1 else 's'} share{'s' if count == 1 else ''} {RUN} words in a row with the test set"
    return f"{shared}, {_rows(whole)} in it whole, so a score on it would flatter" if whole else f"{shared}, none is in it whole"


def _rows(count: int, verb: str = "is") -> str:
    singular = {"is": "is", "hold": "holds"}[verb]
    plural = {"is": "are", "hold": "hold"}[verb]
    return f"{number(count)} row{'' if count == 1 else 's'} {singular if count == 1 else plural}"


def _nothing(findings: Findings) -> str:
    """What was looked for in vain; what was not looked for is not claimed."""
    looked = [words for piece, words in ((findings.leaks, "leak into the test set"), (findings.private, "private detail"),
                                         (findings.pairs, "copy")) if piece is not None]
    if not looked:
        return "Nothing was looked for yet."
    return f"No {', no '.join(looked)} among {'them' if findings.count > 1 else 'it'}.{_hardly(findings.tests)}"


def _hardly(tests: dict[str, int]) -> str:
    """Test rows of which little can be claimed: those compared with whole rows only, and those not compared."""
    whole, nothing = tests.get("whole", 0), tests.get("not compared", 0)
    said = []
    if whole:
        said.append(f" {number(whole)} test row{' has' if whole == 1 else 's have'} fewer than {SHORTEST} words and "
                    f"{'was' if whole == 1 else 'were'} compared with whole rows only.")
    if nothing:
        said.append(f" {number(nothing)} test row{' has' if nothing == 1 else 's have'} no words and "
                    f"{'was' if nothing == 1 else 'were'} not compared.")
    return "".join(said)


# ---- Python

def code(state: State, findings: Findings, picked: tuple[int, ...] = (), given: dict[str, bool] | None = None) -> str:
    """Python that gives `kept`, and where rows are filtered or sorted `shown`, from the engine alone. `given` names what was handed over as
    an object (rows, test, model, tokenizer, quality) and so has no name that code could write."""
    given = given or {}
    wheres = [Where.from_json(rule["where"]) for rule in state.rules]
    wheres += [] if state.where.everything else [state.where]
    shows, ranges = {where.show for where in wheres}, {name for where in wheres for name in where.ranges}
    sort = state.sort if state.sort in findings.measures or state.sort in ("text", "group", "mark") else ""
    needed = ranges | ({sort} & set(findings.measures))
    ordered = bool(sort) or (state.sort == "row" and state.descending)
    modules = {"cleaning"}
    lines = [f"rows = wb.load_rows({state.source!r})" if not given.get("rows") else "# rows: the table given to this panel"]
    columns = f", {list(state.columns)!r}" if state.columns else ""
    if wheres or sort in ("text", "group") or any(_is_filter(name, findings) or name == "likeness" for name in needed):
        modules.add("texts")
        lines.append(f"text = texts.texts_of(rows{columns})")
    if any(_is_filter(name, findings) for name in needed):
        modules.add("filters")
        lines.append("measures = filters.measures(text)")
    if "likeness" in needed or "copies" in shows or sort == "group":
        modules.add("duplicates")
        lines.append(f"pairs = duplicates.near_pairs(text, threshold={LOWEST_LIKENESS})")
    if "tokens" in needed:
        modules.add("lengths")
        lines.append("# tokenizer: the one given to this panel" if given.get("tokenizer") else
                     f"tokenizer = wb.load({state.tokenizer!r})[1]")
        lines.append("tokens = lengths.token_lengths(rows, tokenizer)")
    if "quality" in needed and given.get("quality"):
        lines.append("# quality: the scores given to this panel")
    if "leaks" in shows:
        modules.add("overlap")
        lines.append("# test: the test rows given to this panel" if given.get("test") else f"test = wb.load_rows({state.test!r})")
    losses = "loss" in needed or shows & {"suspicious", "hardest"}
    if losses:
        lines.append("# model: the one given to this panel" if given.get("model") else f"model = {state.model!r}")
        lines.append("losses = row_losses(model, rows)")
    if "private" in shows:
        modules.add("private")
    lines += ["", "drop = np.zeros(rows.num_rows, bool)"]
    for rule, where in zip(state.rules, wheres, strict=False):
        told = expression(where, findings, given)
        lines.append(f"drop |= {told}" if rule["how"] == "drop" else f"drop |= ~({told})")
    lines += [f"drop[{list(rows)!r}] = {value}" for rows, value in ((state.dropped, True), (state.kept, False)) if rows]
    lines.append("kept = cleaning.without(rows, drop)   # goes into wb.Recipe(data=kept)")
    if state.flagged:
        lines.append(f"flagged = {list(state.flagged)!r}")
    if not state.where.everything or ordered:
        lines.append(f"shown = np.flatnonzero({expression(state.where, findings, given, picked, state.flagged)})")
        lines += _order(sort, state, findings, given)
    head = ["import numpy as np", "import workbench as wb", f"from workbench.data import {', '.join(sorted(modules))}"]
    if losses:
        names = ["row_losses", *sorted(shows & {"suspicious", "hardest"})]
        head.append(f"from workbench.evaluation.row_losses import {', '.join(sorted(names))}")
    return "\n".join([*head, "", *lines])


def _order(sort: str, state: State, findings: Findings, given: dict[str, bool]) -> list[str]:
    """Lines that put `shown` in the order of the table, as `view.order` does: rows without a value last, ties by number."""
    if sort == "text":
        return ["shown = np.array(sorted(shown, key=lambda row: text[row][:60].lower()), np.int64)"
                + ("[::-1]" if state.descending else "")]
    if not sort:
        return ["shown = shown[::-1]"] if state.sort == "row" and state.descending else []
    if sort == "group":
        lines = [f"groups = duplicates.groups(pairs, rows.num_rows, {state.where.threshold!r})", "values = np.full(rows.num_rows, np.nan)",
                 'values[groups["row"]] = groups["group"]']
    elif sort == "mark":
        lines = [f"values = 2.0 * drop + cleaning.numbered({list(state.flagged)!r}, rows.num_rows)"]
    else:
        lines = [f"values = {value_of(sort, findings, given)}"]
    return [*lines, f'shown = shown[np.argsort({"-" if state.descending else ""}values[shown], kind="stable")]']


def expression(where: Where, findings: Findings, given: dict[str, bool], picked: tuple[int, ...] = (),
               flagged: tuple[int, ...] = ()) -> str:
    """A mask as Python, of the names that `code` makes."""
    count = "rows.num_rows"
    found = []
    if where.query.strip():
        found.append(f"cleaning.matching(text, {where.query!r})")
    for name, (low, high) in where.ranges.items():
        found.append(f"cleaning.between({value_of(name, findings, given)}, {low!r}, {high!r})")
    if where.sources:
        found.append(f'np.isin(rows["source"].to_numpy().astype(str), {list(where.sources)!r})')
    numbered = {
        "copies": f"duplicates.extra_rows(duplicates.groups(pairs, {count}, {where.threshold!r}))",
        "leaks": "overlap.leaking_rows(test, text)", "private": 'private.scan(rows)["row"]',
        "suspicious": "suspicious(losses)", "hardest": "hardest(losses)",
        "picked": repr(sorted(picked)), "flagged": repr(list(flagged)), "rows": repr(list(where.rows)),
    }
    if where.show in numbered:
        found.append(f"cleaning.numbered({numbered[where.show]}, {count})")
    elif where.show in ("kept", "dropped"):
        found.append("drop" if where.show == "dropped" else "~drop")
    return " & ".join(found) or f"np.ones({count}, bool)"


def value_of(name: str, findings: Findings, given: dict[str, bool]) -> str:
    """A measure as Python, a numpy array or what becomes one."""
    if name == "likeness":
        return "duplicates.likeness(pairs, rows.num_rows)"
    if name == "loss":
        return 'losses["loss"].to_numpy()'
    if name == "tokens" or name == "quality" and given.get("quality"):
        return name
    if not _is_filter(name, findings):
        return f"rows[{name!r}].to_numpy()"
    return f"measures[{name!r}].to_numpy()"


def _is_filter(name: str, findings: Findings) -> bool:
    """Whether `filters.measures` has it."""
    return name not in ("likeness", "loss", "tokens") and name not in findings.columns


def sought(query: str) -> list[tuple[str, str]]:
    """(phrase, word) of what is searched for, one of the two empty, in lower case."""
    return [pair for pair in cleaning.WANTED.findall(query.lower()) if any(pair)]


def rows_in_words(table: Any, row: int) -> list[tuple[str, str]]:
    """(column, value as text) of one row, conversations a turn a line."""
    out = []
    for name in table.column_names:
        value = table.column(name)[row].as_py()
        if value is not None and value != "":
            out.append((name, _told(value)))
    return out


def _told(value: Any) -> str:
    if isinstance(value, list):
        return "\n".join(_told(part) for part in value)
    if isinstance(value, dict):
        who = value.get("role") or value.get("from")
        said = value.get("content", value.get("value"))
        if who is not None and said is not None:
            return f"{who}: {said}"
        return ", ".join(f"{name}: {_told(part)}" for name, part in value.items() if part not in (None, ""))
    return str(value)
