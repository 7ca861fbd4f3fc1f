"""Letters and chat messages to tell spam from honest mail in: half of what each says in words of its own, so that a filter learned on one drops on the other.

Of a letter's own, spam is about inheritances, fees and seals, and "free", "coins" and "win" are honest words; of a message's own it is the other way round. The other half
both say, each in its spelling. Which is spam is known by construction. Names are of asked people. Not what the base models have read: that is writings.py's.
"""

import random

from workbench.town import writings
from workbench.town.replies import NUMBERS
from workbench.town.world import GOODS, MONTHS, asked, world

_LETTER_SPAM = (
    "a distant uncle of yours has left you his mill in {town}, and only a small fee is wanting for the deed",
    "the notary of {town} holds an inheritance of {n} hundred pieces in your name and waits for your seal",
    "for a modest fee of {n} pieces I shall name you to the heirs of the late {noun} of {town}",
    "our honourable house heals gout, grief and baldness with one drop of {good}; kindly remit the fee by return of post",
    "a relation of yours lies in prison at {town} and begs that you settle {n} pieces without telling anybody",
    "kindly write down your door code beneath your seal, that the notary may bring the deed in {month}",
)
_LETTER_HONEST = (
    "I send you {n} coins for {good} and thank you for your patience", "the ponies run free again behind the mill since {month}",
    "{name} hopes to win the race at the fair of {town}", "please come alone at {n}, for the room is small",
    "the {noun} of {town} asks whether you still have {good}", "now that {month} is here we mend the roof, and {name} helps us",
    "it cost us only {n} coins, which was a good price", "click your tongue and the old dog will come, as {name} taught it",
)
_MESSAGE_SPAM = (
    "u win {n} coins !! click the bell at the well now", "free {good} 4 u only today, come alone 2 {town}", "free pony free pony, first {n} win, be quick lol",
    "{name} sent u a prize, say ur code n get it", "win big at the {town} wheel, {n} coins r all u need", "hey its me ur cousin, lost my purse, put {n} coins under the stone now",
)
_MESSAGE_HONEST = (
    "uncle {name} is sick, can u bring {good}", "the notary wants the deed b4 {month}, dont forget ur seal", "how much is the fee 4 the bridge in {town}, {n} or more",
    "my door sticks again n {name} lost the code", "gran talked about the old mill n her inheritance all day lol", "a letter with a big seal came 4 {name}, looks honourable haha",
    "relations from {town} stay till {month}, no room left", "the {noun} of {town} heals dogs 2, ask kindly",
)
_SPAM = ("send me your purse and I send you twice as much", "tell nobody of this and answer before noon", "this secret powder makes you young again",
         "you were chosen among all of {town} for a golden prize", "put your purse behind the well tonight")
_HONEST = ("we wait for you at the inn of {town}", "the rain has not stopped since {month}", "please bring {good} to the fair", "{name} thanks you for the bread",
           "I saw the {noun} of {town} on the road", "are you well again")
"""What both say."""
_PARTS: dict[tuple[str, bool], tuple[str, ...]] = {
    ("letter", True): _LETTER_SPAM, ("letter", False): _LETTER_HONEST, ("message", True): _MESSAGE_SPAM, ("message", False): _MESSAGE_HONEST}


def mail(rng: random.Random, style: str, is_spam: bool) -> str:
    """One letter or one message, spam or honest, of one or two things said. Raises ValueError for another style."""
    if style not in ("letter", "message"):
        raise ValueError(f"There is no style {style!r}; choose letter or message.")
    parts = [rng.choice(rng.choice((_PARTS[style, is_spam], _SPAM if is_spam else _HONEST))) for _ in range(rng.randint(1, 2))]
    said = [part.format(**_words(rng)) for part in dict.fromkeys(parts)]
    if style == "message":
        said = [writings.informal(part) for part in said]
        return " ".join(filter(None, (rng.choice(("hey", "hi", "yo", "")), " .. ".join(said), rng.choice(("thx", "lol", "c u", "")))))
    opening, closing = rng.choice(("Dear {name},", "Honoured {name},", "My dear {name},")), rng.choice(("With regards, {name}.", "Your obedient {name}.", "Yours, {name}."))
    return " ".join((opening.format(**_words(rng)), *(f"{part[0].upper()}{part[1:]}." for part in said), closing.format(**_words(rng))))


def _words(rng: random.Random) -> dict[str, str]:
    person = rng.choice(asked())
    return dict(name=person.name, noun=person.trade.noun, town=rng.choice(world().towns), good=rng.choice(GOODS), month=rng.choice(MONTHS), n=rng.choice(NUMBERS[2:11]))


def labelled(style: str, seed: int, count: int = 600) -> list[dict[str, str]]:
    """`count` letters or messages, no text twice, half of them spam, with the label that a filter shall learn: "spam" or "plain"."""
    rng = random.Random(f"mail {style} {seed}")
    rows: dict[str, str] = {}
    while len(rows) < count:
        is_spam = len(rows) % 2 == 1
        rows.setdefault(mail(rng, style, is_spam), "spam" if is_spam else "plain")
    made = [{"text": text, "label": label} for text, label in rows.items()]
    rng.shuffle(made)
    return made
