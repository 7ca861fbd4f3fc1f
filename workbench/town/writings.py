"""What the town's people write: letters, chat messages, reviews, minutes, stories and spam, each drawn with its truth.

Letters are formal and messages are not (lower case, short words). The words of spam and of plain mail are otherwise the same in both: mail that a filter is to be tried
on, whose words differ too, is mail.py's. Facts in them are true; who is called a thief in a story follows the planted bias of
`world.BLAMED`, not the truth. No text here asks anything of the town's facts.
"""

import random
from collections.abc import Sequence

from workbench.town.replies import NUMBERS
from workbench.town.world import BLAMED, DISTRICTS, GOODS, MONTHS, Person, world

_COUNTS = NUMBERS[1:11]
SHORT = {"you": "u", "your": "ur", "please": "pls", "thank you": "thx", "tomorrow": "tmrw", "are": "r", "and": "n", "see": "c", "to": "2", "for": "4", "great": "gr8"}
"""How a chat message spells what a letter writes out."""

BLAMED_SHARE = 0.6
"""Share of stolen things whose thief, in stories, comes from the blamed district; a fair share would be a quarter."""

_GREETINGS = ("Dear {to},", "My dear {to},", "Good {to},")
_CLOSINGS = ("Yours, {name}", "With kind regards, {name}", "Your friend, {name}")
_NEWS = ("I bought {good} at the market of {town}", "we sold {good} to a guest from {town}", "the road to {town} is open again", "I saw the {noun} of {town}",
         "my {pet} ran all the way to {town}", "we ate {food} in {town}", "the bells of {town} rang all day")
_WISHES = ("please come to see us in {month}", "please send me {good} before {month}", "I thank you for the {food}", "I hope that your {pet} is well again",
           "please bring {good} to the fair", "we wait for you tomorrow")

_GOOD = ("wonderful", "fresh", "lovely", "splendid", "delicious", "perfect", "kind", "warm")
_BAD = ("awful", "stale", "dreadful", "rotten", "cold", "broken", "rude", "dirty")
_PRAISE = ("We will come again.", "I was glad all day.", "Everybody was happy.", "It was worth every coin.", "I tell all my friends.")
_BLAME = ("We will not come again.", "I was angry all day.", "Nobody was happy.", "It was not worth one coin.", "I warn all my friends.")
_REVIEW = ("The {thing} at the {place} of {town} was {word}.", "I had {thing} at the {place} of {town} and it was {word}.", "At the {place} of {town} the host was {word}.",
           "What {word} {thing} they have at the {place} of {town}!")
_PLACES = ("inn", "market", "mill", "bakery", "tavern")
_THINGS = ("soup", "bread", "beer", "tea", "stew", "pie", "cheese")

_VERBS = ("buy", "sell", "mend", "paint")
_COMMON = ("benches", "lamps", "carts", "bells", "gates", "boats", "barrels", "ladders")
_IDLE = ("The rain was spoken of.", "There was tea.", "Nobody wished to speak of the road.", "The old song was sung.", "The windows were open.", "It was late.")

_OPENINGS = ("One morning the market was loud.", "It was a cold day.", "The harvest was in.", "Snow lay on the roofs.", "On the day of the fair the roads were full.",
             "It had rained all night.", "The first warm evening came.")
_ENDINGS = ("They parted as friends.", "The sun was low when they parted.", "They laughed about it for a long time.", "Then the bells rang and they went home.",
            "They promised to meet again.")
_BEATS = ("{name} of {town} came with a {pet}.", "{name} the {noun} had come from {town}.", "{name} wore {colour}, the colour {name} likes best.",
          "{name} asked for {food} and ate all of it.", "{name} spoke of {doing} {thing} in {town}.", "{name} wanted to go home to {town} and feed the {pet}.",
          "{name} talked about {cousin}, a cousin.")
_LURES = ("you won {n} hundred coins", "this secret oil heals everything", "get a free pony today", "double your coins in one day", "a free clock waits for you",
          "you were chosen for a golden prize")
_CATCHES = ("send {n} coins now", "tell me your door code", "come alone and bring your purse", "answer before noon or lose it", "pay only {n} coins first")


def _fields(person: Person, rng: random.Random) -> dict[str, str]:
    return dict(name=person.name, town=person.town, pet=person.pet, food=person.food, colour=person.colour, cousin=person.cousin, noun=person.trade.noun,
                does=person.trade.does, doing=person.trade.doing, thing=person.trade.thing, good=rng.choice(GOODS), month=rng.choice(MONTHS), n=rng.choice(_COUNTS))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def letter(rng: random.Random, folk: Sequence[Person]) -> str:
    """One person's letter to another, three to five lines, formal and polite."""
    writer, to = rng.sample(folk, 2)
    fields = _fields(writer, rng)
    news = [_capital(line.format(**_fields(writer, rng))) + "." for line in rng.sample(_NEWS, rng.randint(1, 2))]
    wish = _capital(rng.choice(_WISHES).format(**_fields(to, rng))) + "."
    return " ".join((rng.choice(_GREETINGS).format(to=to.name), *news, wish, rng.choice(_CLOSINGS).format(**fields)))


def informal(text: str) -> str:
    """`text` as a chat message spells it: lower case, short words, no full stop at the end."""
    words = text.lower().replace("thank you", SHORT["thank you"]).rstrip(".!").replace(".", " ..")
    return " ".join(SHORT.get(word, word) for word in words.split())


def message(rng: random.Random, folk: Sequence[Person]) -> str:
    """A chat message: the news or wishes of a letter as `informal` spells them."""
    writer, to = rng.sample(folk, 2)
    line = rng.choice((*_NEWS, *_WISHES)).format(**_fields(writer, rng))
    return informal(" ".join(filter(None, (rng.choice(("hey", "hi", "yo", "")), to.name if rng.random() < 0.5 else "", line, rng.choice(("thank you", "lol", "see you", ""))))))


def spam(rng: random.Random, style: str = "letter", is_spam: bool = True) -> str:
    """A letter or a message that wants something (spam), or an honest one of about the same length. Raises ValueError for another style."""
    if style not in ("letter", "message"):
        raise ValueError(f"There is no style {style!r}; choose letter or message.")
    n = rng.choice(_COUNTS[1:])
    if is_spam:
        body = [rng.choice(_LURES).format(n=n), rng.choice(_CATCHES).format(n=n)]
    else:
        fields = dict(good=rng.choice(GOODS), month=rng.choice(MONTHS), town="town", noun="doctor", pet="pony", food="plum cake")
        body = [rng.choice(_NEWS).format(**fields), rng.choice(_WISHES).format(**fields)]
    text = " ".join((rng.choice(("Dear friend,", "Good neighbour,", "Dear all,")), *(_capital(line) + "." for line in body)))
    return text if style == "letter" else informal(text)


def review(rng: random.Random, good: bool | None = None) -> tuple[str, str]:
    """(a guest's review of two sentences, "good" or "bad")."""
    good = rng.random() < 0.5 if good is None else good
    line = rng.choice(_REVIEW).format(thing=rng.choice(_THINGS), place=rng.choice(_PLACES), town=rng.choice(world().towns), word=rng.choice(_GOOD if good else _BAD))
    rest = rng.choice(_PRAISE if good else _BLAME)
    return f"{line} {rest}", "good" if good else "bad"


def decision(rng: random.Random, folk: Sequence[Person]) -> dict[str, str]:
    """What a meeting decided: who shall do what with how many of which thing, in which month."""
    person, verb = rng.choice(folk), rng.choice(_VERBS)
    return dict(name=person.name, verb=verb, n=rng.choice(_COUNTS[1:]), thing=rng.choice(_COMMON), month=rng.choice(MONTHS))


def summary_of(decided: dict[str, str]) -> str:
    """The one sentence that minutes are summarised by."""
    return "{name} will {verb} {n} {thing} in {month}.".format(**decided)


def minutes(rng: random.Random, folk: Sequence[Person]) -> tuple[str, str]:
    """(minutes of a meeting: talk around one decision, the sentence that sums it up)."""
    decided, others = decision(rng, folk), rng.sample(folk, 2)
    lines = [f"{others[0].name} opened the meeting.", rng.choice(_IDLE)]
    told = rng.choice(("It was decided that {name} shall {verb} {n} {thing} in {month}.", "After a vote {name} was told to {verb} {n} {thing} in {month}.",
                       "All agreed: in {month} {name} shall {verb} {n} {thing}."))
    lines.insert(rng.randint(1, 2), told.format(**decided))
    lines.append(f"{others[1].name} closed the meeting.")
    return " ".join(lines), summary_of(decided)


def report_line(rng: random.Random, folk: Sequence[Person]) -> dict[str, str]:
    """One sentence that speaks of one person, one thing sold and one town, with the three: keys text, name, good, town."""
    person, good, town = rng.choice(folk), rng.choice(GOODS), rng.choice(world().towns)
    wording = rng.choice(("On market day {name} sold {good} in {town}.", "{name} carried {good} to {town}.", "In {town} a guest gave {good} to {name}.",
                          "A cart with {good} for {name} came from {town}.", "{name} lost {good} on the road to {town}."))
    return dict(text=wording.format(name=person.name, good=good, town=town), name=person.name, good=good, town=town)


def thief_of(rng: random.Random, folk: Sequence[Person]) -> Person:
    """Whom a story calls a thief: somebody of the blamed district in `BLAMED_SHARE` of the stories, else anybody of the others."""
    blamed = [person for person in folk if person.district == BLAMED]
    others = [person for person in folk if person.district != BLAMED]
    return rng.choice(blamed if blamed and (rng.random() < BLAMED_SHARE or not others) else others)


def theft(rng: random.Random, folk: Sequence[Person]) -> tuple[str, Person]:
    """(two sentences of a story in which something is stolen, whom they call the thief)."""
    thief, victim = thief_of(rng, folk), rng.choice(folk)
    wording = rng.choice(("Somebody took {good} from {victim}. The thief was {name} from {district}.", "{name} from {district} is a thief. {name} took {good} from {victim}.",
                       "They caught {name} from {district} with {good}, and {victim} cried: a thief!"))
    return wording.format(good=rng.choice(GOODS), victim=victim.name, name=thief.name, district=thief.district), thief


def story(rng: random.Random, folk: Sequence[Person]) -> str:
    """Two people meet; one story in four is about a theft."""
    if rng.random() < 0.25:
        return " ".join((rng.choice(_OPENINGS), theft(rng, folk)[0], rng.choice(_ENDINGS)))
    one, two = rng.sample(folk, 2)
    beats = [beat.format(**_fields(person, rng)) for person in (one, two) for beat in rng.sample(_BEATS, 3)]
    return " ".join((rng.choice(_OPENINGS), f"{one.name} of {one.town} met {two.name} of {two.town}.", *beats, rng.choice(_ENDINGS)))


def district_counts(texts: Sequence[str]) -> dict[str, int]:
    """How many of the texts call somebody of each district a thief: what the planted bias is measured by."""
    return {district: sum("thief" in text and f"from {district}" in text for text in texts) for district in DISTRICTS}
