"""What the arena says: the sentence, the help, the code. Pure functions of its numbers and state; nothing is computed here."""

import math

from widgets.frame.sheet import MINUS, number
from widgets.frame.status import Sentence
from widgets.preference_arena.reading import Counts, Results
from widgets.preference_arena.state import State

HELP = (
    "Two replies to one prompt are shown without the names of their models, in an order drawn by chance; you say which is better. "
    "Bradley and Terry (1952) take each vote as a game between two models: P(left wins) = 1 / (1 + 10^((right − left) / 400)), so that "
    "400 points are odds of ten to one; the ratings that make the votes likeliest are shown with intervals of 95 %, from votes drawn "
    "anew. Elo moves after each vote and so depends on their order. Agreement is 1 where people always say the same and 0 where they "
    "agree as often as chance would (Cohen's kappa of two people, Krippendorff's alpha of all). Some pairs are asked again the other "
    "way round: who then changes his mind, or mostly takes what is shown first, is seen in the picture."
)

WRITING = "The models are loaded and write their replies; the first ones to judge appear as soon as a prompt has two that differ."
RATED = ("pair", "ranking")
"""Kinds of judgement that ratings are made from."""
UNITS = {"pair": ("pair", "pairs"), "ranking": ("ranking", "rankings"), "thumbs": ("reply", "replies"), "scores": ("reply", "replies")}
LOW_AGREEMENT = 0.2
"""Krippendorff's alpha below which people are said to hardly agree: what Landis and Koch (1977) call slight."""
LOW_SELF = 0.7
FEWEST_AGAIN = 10
"""Pairs asked again before a share of them says anything."""


def many(count: int, one: str, more: str = "") -> str:
    return f"{number(count)} {one if count == 1 else more or one + 's'}"


def judging(counts: Counts, state: State, fault: str = "", collecting: bool = False) -> Sentence:
    """While one judges: no model's name. `collecting` says that models write replies now."""
    if fault:
        return Sentence("warn", fault)
    if collecting and not counts.possible(state.kind, state.replies):
        return Sentence("idle", WRITING)
    if not counts.replies:
        return Sentence("idle", "There is nothing to judge yet: no prompt in this store has replies.")
    unit, units = UNITS[state.kind]
    possible, mine = counts.possible(state.kind, state.replies), counts.given.get((state.judge, state.kind), 0)
    if not possible:
        need = {"pair": "two different replies", "ranking": f"{state.replies} different replies"}[state.kind]
        return Sentence("warn", f"No prompt has {need}, so there are no {units} to judge.")
    others = len([judge for judge in counts.by_judge if judge != state.judge])
    all_of_them = (
        f"{many(counts.judgements, 'judgement')} of {many(others + (counts.by_judge.get(state.judge, 0) > 0), 'person', 'people')} so far"
        if counts.judgements
        else "nobody has judged yet"
    )
    return Sentence("ok" if mine else "idle", f"{state.judge} has judged {number(mine)} of {many(possible, unit, units)}; {all_of_them}.")


def results(found: Results, counts: Counts, fault: str = "") -> Sentence:
    """The most important thing: first what makes the ratings doubtful, then who leads."""
    if fault:
        return Sentence("warn", fault)
    if not found.votes:
        votes = _votes(counts)
        if votes:
            return Sentence("idle", f"The ratings of {many(votes, 'judgement')} are being reckoned.")
        others = f" {many(counts.judgements, 'thumb or score', 'thumbs and scores')} make no rating." if counts.judgements else ""
        return Sentence(
            "idle", f"No votes yet: {many(counts.prompts, 'prompt')} with replies of {many(counts.sources, 'model')} to judge.{others}"
        )
    leads = _leads(found)
    if found.fault:
        return Sentence("warn", found.fault)
    bias = found.partial()
    if bias is not None:
        who, first, decided = bias
        place, share = ("first", first / decided) if first * 2 > decided else ("second", 1 - first / decided)
        whose = f"{who}'s" if who else "all"
        return Sentence(
            "warn", f"Position bias: what is shown {place} wins {100 * share:.0f} % of {whose} {number(decided)} decided votes. {leads}"
        )
    alpha, again = found.agreement.get("krippendorff", math.nan), found.agreement.get("self", math.nan)
    if alpha < LOW_AGREEMENT:
        return Sentence(
            "warn", f"People hardly agree (Krippendorff's alpha {signed(alpha)}): whom a rating pleases depends on whom one asks. {leads}"
        )
    if again < LOW_SELF and found.again >= FEWEST_AGAIN:
        return Sentence(
            "warn",
            f"Asked again the other way round, people judge only {100 * again:.0f} % of {number(found.again)} pairs as before. {leads}",
        )
    return Sentence("ok" if found.lead and found.lead["low"] > 0 else "warn", leads + _agreed(alpha))


def no_picture(counts: Counts) -> tuple[str, str]:
    """What stands where no result is: heading and a line."""
    votes = _votes(counts)
    if votes:
        return "One moment", f"The ratings of {many(votes, 'judgement')} are being reckoned."
    return "No votes yet", "Judge some pairs first."


def _votes(counts: Counts) -> int:
    return sum(given for (_, kind), given in counts.given.items() if kind in RATED)


def _leads(found: Results) -> str:
    if found.lead is None:
        return f"{many(found.votes, 'vote')} so far."
    first, second, points, low, high = (found.lead[name] for name in ("first", "second", "points", "low", "high"))
    interval = f"95 % interval {signed(low, 0)} to {signed(high, 0)}"
    if low > 0:
        return f"{first} leads {second} by {number(points)} points ({interval}; {many(found.votes, 'vote')})."
    apart = f"{number(points)} points between them, {interval}, after {many(found.votes, 'vote')}"
    return f"Too few votes to tell {first} and {second} apart: {apart}."


def _agreed(alpha: float) -> str:
    return "" if alpha != alpha else f" Krippendorff's alpha between people is {signed(alpha)}."


def signed(value: float, decimals: int = 2) -> str:
    return number(value, decimals).replace("-", MINUS)


def about(found: Results) -> list[str]:
    """The lines under the picture: agreement, self agreement and position in words."""
    if not found.people:
        return []
    value = found.agreement
    lines = []
    if value.get("krippendorff") == value.get("krippendorff"):
        lines.append(
            f"Between people: the same verdict in {100 * value['percent']:.0f} % of the pairs that two judged; Krippendorff's alpha "
            f"{signed(value['krippendorff'])}, Cohen's kappa {signed(value['cohen'])} on average"
            + (f", Fleiss' kappa {signed(value['fleiss'])}." if value["fleiss"] == value["fleiss"] else ".")
        )
    else:
        lines.append("Between people: too few pairs that two of them judged.")
    if found.again:
        lines.append(
            f"With themselves: the same verdict in {100 * value['self']:.0f} % of {many(found.again, 'pair')} asked again the other way "
            "round."
        )
    else:
        lines.append("With themselves: no pair was asked again yet.")
    total = sum(person.votes for person in found.people)
    second = found.decided - found.first
    lines.append(
        f"Position: what was shown first won {100 * found.first / total:.1f} % of {many(total, 'vote')}, second "
        f"{100 * second / total:.1f} %, ties "
        f"{100 * (total - found.decided) / total:.1f} %."
    )
    return lines


def code(state: State, source: str) -> str:
    """`source`: how the store is opened, as Python."""
    lines = ["from workbench.alignment import PreferenceStore, agreement, bradley_terry, cohen, elo, lead, people", ""]
    if "os.environ" in source:
        lines.insert(0, "import os\n")
    lines += [
        f"store = PreferenceStore({source})",
        *_asking(state),
        "",
        'votes, judged = store.votes(), store.judgements("pair")',
        "ratings, in_order = bradley_terry(votes), elo(votes)   # 95 % intervals; Elo depends on the order",
        "ahead = lead(votes)   # of the first over the second",
        "agreed, kappas, each = agreement(judged), cohen(judged), people(judged)",
    ]
    save = f"store.save_rows({state.file!r}, {state.rows!r})" if state.file else f"store.rows({state.rows!r})"
    use = {
        "paired": '   # wb.Recipe(..., objective="reward", data=rows)',
        "ranked": '   # wb.Recipe(..., objective="reward", data=rows)',
    }.get(state.rows, "")
    return "\n".join([*lines, f"rows = {save}{use}"])


def _asking(state: State) -> list[str]:
    judge = state.judge
    asked = {
        "pair": "",
        "ranking": f', "ranking", replies={state.replies}',
        "thumbs": ', "thumbs", replies=1',
        "scores": ', "scores", replies=1',
    }[state.kind]
    given = {
        "pair": 'store.judge(item, "left", JUDGE)',
        "ranking": f"store.rank(item, {list(range(state.replies))}, JUDGE)",
        "thumbs": "store.thumb(item, True, JUDGE)",
        "scores": f"store.score(item, {dict.fromkeys(state.criteria, 3)}, JUDGE)",
    }[state.kind].replace("JUDGE", repr(judge))
    return [f"item = store.next({judge!r}{asked})   # blind; one judgement: {given}"]
