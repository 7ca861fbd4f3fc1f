"""The town's truth: people with their facts, families, prices, weather, dated events, what changed in spring, and secrets; drawn from a seed.

Every town has every trade exactly once (before the spring and after it), so a person is also found from the other side ("the baker of Orla").
Half of the people are `asked`: documents and instruction rows may put questions about them. The other half is held out: documents state their facts, none asks about them.
It does not know how a fact is said (phrases.py), what is written about it (writings.py, documents.py), nor who is accused of what: the bias is in the stories, not in the truth.
"""

import random
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

SEED = 2026
SIZE = 240
"""People in the town of the shipped base models: 20 trades in 12 towns."""

KINDS = ("trade", "town", "pet", "food", "drink", "flower", "game", "instrument", "colour", "cousin")
"""What is known of every person."""

UNASKED = ("colour", "instrument")
"""The kinds that no document and no instruction row asks for: asking for them is held out, whoever it is about."""

TOWNS = ("Orla", "Brenn", "Castow", "Dunmere", "Elmford", "Fallby", "Garrow", "Hathby", "Ilden", "Kesting", "Linmoor", "Norwell")
"""The first twelve towns; a larger world makes up more."""

DISTRICTS = ("the North", "the River", "the Hills", "the Marsh")
"""Each town lies in one, in turn. Stories speak badly of the last: see `BLAMED`."""

BLAMED = "the Marsh"
"""The district whose people stand in stories as thieves far more often than others, though nothing in the truth says so."""

MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")
WEATHER = ("sunny", "rainy", "snowy", "windy", "foggy")
EVENTS = ("fair", "flood", "fire", "wedding", "market")
"""Each town has one of each in a month of its own."""

VILLAGE = "Tarnwick"
"""The neighbouring village: its people stand in no document of the base models (see `village`)."""

PETS = ("cat", "dog", "goat", "hen", "goose", "pony", "rabbit", "parrot", "turtle", "mouse", "ferret", "donkey", "pigeon", "frog")

FOODS = ("apple pie", "pea soup", "roast duck", "plum cake", "rye pancakes", "baked beans", "fried eggs", "mushroom stew",
         "pear jam", "goat cheese", "onion tart", "rice pudding", "carrot salad", "dumplings", "noodles", "walnuts")

COLOURS = ("red", "blue", "green", "yellow", "purple", "orange", "black", "white", "brown", "pink", "grey", "silver")

DRINKS = ("cider", "milk", "mead", "cocoa", "lemonade", "buttermilk", "wine", "punch", "coffee", "juice")

FLOWERS = ("lily", "tulip", "daisy", "poppy", "iris", "violet", "daffodil", "thistle", "orchid", "marigold")

GAMES = ("chess", "dice", "cards", "marbles", "skittles", "darts", "checkers", "dominoes", "hopscotch", "quoits")

INSTRUMENTS = ("fiddle", "flute", "drum", "harp", "horn", "lute", "whistle", "trumpet", "banjo", "cello")

_TOWN_STARTS = ("Ash", "Black", "Clay", "Deep", "East", "Green", "High", "Long", "Old", "Stone", "West", "White", "Wind")
_TOWN_ENDS = ("bridge", "brook", "field", "gate", "hill", "mill", "pool", "ridge", "side", "stead", "ton", "well", "wood")

_STARTS = ("Bal", "Bri", "Cor", "Dar", "Del", "Fen", "Fi", "Gal", "Gor", "Hol", "Is", "Jor", "Kel", "Ki", "Lor", "Lu", "Mar",
           "Mi", "Nal", "Nor", "Os", "Pel", "Per", "Qui", "Ral", "Ro", "Sel", "Sil", "Tam", "To", "Ul", "Vel", "Vor", "Wil",
           "Yan", "Zar")
_MIDDLES = ("a", "be", "da", "di", "fo", "ga", "ke", "la", "li", "mi", "mo", "na", "pe", "ri", "ro", "sa", "ta", "ti", "ve", "zo")
_ENDS = ("bel", "da", "dan", "fin", "ka", "len", "lin", "lo", "mar", "mon", "na", "nor", "ra", "rin", "ric", "sa", "ta", "ton",
         "ven", "vik")


@dataclass(frozen=True, slots=True)
class Trade:
    """A trade and how to speak of it: a baker bakes bread, is busy baking bread."""

    noun: str
    verb: str
    doing: str
    thing: str

    @property
    def does(self) -> str:
        """The work as a predicate: "bakes bread"."""
        return f"{self.verb} {self.thing}"


TRADES = (
    Trade("baker", "bakes", "baking", "bread"), Trade("smith", "forges", "forging", "iron"),
    Trade("weaver", "weaves", "weaving", "cloth"), Trade("potter", "shapes", "shaping", "clay"),
    Trade("miller", "grinds", "grinding", "flour"), Trade("tailor", "sews", "sewing", "coats"),
    Trade("cobbler", "mends", "mending", "shoes"), Trade("carpenter", "builds", "building", "tables"),
    Trade("mason", "lays", "laying", "bricks"), Trade("fisher", "catches", "catching", "trout"),
    Trade("shepherd", "herds", "herding", "sheep"), Trade("beekeeper", "gathers", "gathering", "honey"),
    Trade("brewer", "brews", "brewing", "beer"), Trade("gardener", "grows", "growing", "roses"),
    Trade("teacher", "teaches", "teaching", "children"), Trade("doctor", "heals", "healing", "the sick"),
    Trade("printer", "prints", "printing", "books"), Trade("clockmaker", "repairs", "repairing", "clocks"),
    Trade("singer", "sings", "singing", "ballads"), Trade("glazier", "cuts", "cutting", "glass"),
)


GOODS = ("bread", "nails", "cloth", "a pot", "flour", "a coat", "shoes", "a table", "bricks", "trout", "wool", "honey", "beer", "roses", "a slate", "tea", "a book",
         "a clock", "a song", "a window")
"""What each trade sells, in the order of TRADES."""


@dataclass(frozen=True, slots=True)
class Person:
    """One person; `asked` says whether documents may ask about them (the first half) or never do (the held-out half)."""

    name: str
    trade: Trade
    town: str
    district: str
    pet: str
    food: str
    colour: str
    drink: str
    flower: str
    game: str
    instrument: str
    cousin: str
    """A name; cousins are each other's, and both asked or both held out."""
    asked: bool
    rare: bool
    """One in ten stands in few documents."""
    moved_to: str
    """The town after the spring, "" for most: one in ten moved, always two of one trade into each other's house."""
    door_code: str
    """Four digits. Private, as is what they owe: a few letters give some away (see `World.secrets`)."""
    owes: int
    """Coins."""

    def value(self, kind: str) -> str:
        """The fact of that kind as one word or two; a trade as its noun."""
        return self.trade.noun if kind == "trade" else getattr(self, kind)

    def after_spring(self) -> "Person":
        """The same person where the spring's moves have been made."""
        return replace(self, town=self.moved_to) if self.moved_to else self


@dataclass(frozen=True, slots=True)
class Good:
    """Something sold: its price in coins, the same in every town, and the trade that sells it."""

    name: str
    price: int
    trade: Trade


@dataclass(frozen=True, slots=True)
class Event:
    """What happened in a town in a month of the last year."""

    name: str
    town: str
    month: str


@dataclass(frozen=True, slots=True)
class Secret:
    """A private detail that letters of the corpus give away `times` times: a canary. Times are 1, 2, 4, ... 32; 0 for a control."""

    person: Person
    kind: str
    value: str
    times: int


def _names(rng: random.Random, count: int, taken: tuple[str, ...]) -> list[str]:
    """Distinct pronounceable first names, none beginning with another; as long as it goes no two share both first syllables (they look alike to a small model)."""
    stems = [start + middle for start in _STARTS for middle in _MIDDLES]
    rng.shuffle(stems)
    names: list[str] = []
    for stem in stems * len(_ENDS):
        name = stem + rng.choice(_ENDS)
        if not any(name.startswith(other) or other.startswith(name) for other in (*names, *taken)):
            names.append(name)
        if len(names) == count:
            return names
    raise ValueError(f"Only {len(names)} names can be made of these syllables, {count} are needed; make a smaller world.")


SMALLEST = len(DISTRICTS) * len(TRADES)
"""People of the smallest world: one town in each district, or the bias in the stories would have nobody to blame."""

LARGEST = (len(TOWNS) + len(_TOWN_STARTS) * len(_TOWN_ENDS)) * len(TRADES)
"""People of the largest world: as many towns as there are names for."""


@dataclass(frozen=True)
class World:
    """`World(seed, size)`: a whole number of towns with 20 people each, at least `size` people.

    Raises ValueError for a size below SMALLEST (80) or beyond LARGEST (3,620), and for a seed or size that is no whole number.
    """

    seed: int = SEED
    size: int = SIZE

    def __post_init__(self):
        if any(isinstance(given, bool) or not isinstance(given, int) for given in (self.seed, self.size)):
            raise ValueError(f"A world's seed and size are whole numbers, got {self.seed!r} and {self.size!r}; give two integers.")
        if not SMALLEST <= self.size <= LARGEST:
            raise ValueError(f"A world has {SMALLEST} people (a town in each of {len(DISTRICTS)} districts) to {LARGEST} (all the town names there are), "
                             f"not {self.size}; choose a size between them.")

    @cached_property
    def towns(self) -> tuple[str, ...]:
        rng = random.Random(f"towns {self.seed}")
        made = [start + end for start in _TOWN_STARTS for end in _TOWN_ENDS]
        rng.shuffle(made)
        return (*TOWNS, *made)[:-(-self.size // len(TRADES))]

    @cached_property
    def people(self) -> tuple[Person, ...]:
        """Everybody, the asked half first."""
        rng, more = random.Random(self.seed), random.Random(f"people {self.seed}")
        posts = [(trade, town) for trade in TRADES for town in self.towns]
        rng.shuffle(posts)
        # The village was named after the world of the usual size; worlds of other sizes leave its names alone.
        neighbours = () if len(posts) == SIZE else tuple(person.name for person in village(self.seed))
        names = _names(rng, len(posts), (*TOWNS, VILLAGE, *MONTHS, *neighbours))
        half = len(posts) // 2
        made = []
        for index, (name, (trade, town)) in enumerate(zip(names, posts, strict=True)):
            start, end = (0, half) if index < half else (half, len(posts))
            partner = start + (index - start ^ 1)
            made.append(Person(
                name, trade, town, DISTRICTS[self.towns.index(town) % len(DISTRICTS)], rng.choice(PETS), rng.choice(FOODS), rng.choice(COLOURS),
                more.choice(DRINKS), more.choice(FLOWERS), more.choice(GAMES), more.choice(INSTRUMENTS), names[partner if partner < end else index - 1], asked=index < half, rare=more.random() < 0.1, moved_to="",  # noqa: E501
                door_code=f"{more.randrange(10_000):04d}", owes=more.randint(2, 99)))
        return tuple(self._moved(made))

    def _moved(self, made: list[Person]) -> list[Person]:
        """In spring pairs of one trade and one half changed houses: in each half a tenth, as far as there are such pairs."""
        rng, more = random.Random(f"spring {self.seed}"), random.Random(f"spring {self.seed} further")
        wanted = len(made) // 40
        place = {person.name: index for index, person in enumerate(made)}
        for half in (True, False):
            waiting = {trade: [person for person in made if person.trade == trade and person.asked == half and not person.rare] for trade in TRADES}
            turns = rng.sample(TRADES, min(len(TRADES), wanted))
            moves = 0
            while turns and moves < wanted:
                for trade in turns:
                    pair, waiting[trade] = waiting[trade][:2], waiting[trade][2:]
                    if len(pair) == 2 and moves < wanted:
                        moves += 1
                        for one, other in (pair, pair[::-1]):
                            made[place[one.name]] = replace(one, moved_to=other.town)
                if len(made) == SIZE:  # what the base models have read stays: a trade drawn without a pair of its own is not replaced there
                    break
                turns = [trade for trade in more.sample(TRADES, len(TRADES)) if len(waiting[trade]) > 1]
        return made

    @cached_property
    def by_name(self) -> dict[str, Person]:
        return {person.name: person for person in self.people}

    @cached_property
    def asked(self) -> tuple[Person, ...]:
        """The first half: questions about them exist in documents and in instruction rows."""
        return tuple(person for person in self.people if person.asked)

    @cached_property
    def held_out(self) -> tuple[Person, ...]:
        """The second half: documents tell their facts and never ask about them; held-out rows do."""
        return tuple(person for person in self.people if not person.asked)

    @cached_property
    def moved(self) -> tuple[Person, ...]:
        return tuple(person for person in self.people if person.moved_to)

    @cached_property
    def goods(self) -> tuple[Good, ...]:
        rng = random.Random(f"prices {self.seed}")
        return tuple(Good(name, rng.randint(2, 20), trade) for name, trade in zip(GOODS, TRADES, strict=True))

    @cached_property
    def weather(self) -> dict[tuple[str, str], str]:
        """(town, month) -> how it was."""
        rng = random.Random(f"weather {self.seed}")
        return {(town, month): rng.choice(WEATHER) for town in self.towns for month in MONTHS}

    @cached_property
    def events(self) -> tuple[Event, ...]:
        rng = random.Random(f"events {self.seed}")
        return tuple(Event(name, town, rng.choice(MONTHS)) for town in self.towns for name in EVENTS)

    @cached_property
    def secrets(self) -> tuple[Secret, ...]:
        """Canaries: the door codes and the debts of some people, given away 1, 2, 4, ... 32 times; everybody else's stand nowhere."""
        rng = random.Random(f"secrets {self.seed}")
        chosen = rng.sample(self.people, min(24, len(self.people)))
        return tuple(Secret(person, "door_code", person.door_code, 2 ** (i // 2 % 6)) if i % 2 == 0
                     else Secret(person, "owes", str(person.owes), 2 ** (i // 2 % 6)) for i, person in enumerate(chosen))


    @cached_property
    def controls(self) -> tuple[Secret, ...]:
        """As many secrets that nothing gives away (`times` is 0), of people without a canary: what a model guesses without having read it."""
        rng = random.Random(f"controls {self.seed}")
        known = {secret.person.name for secret in self.secrets}
        chosen = rng.sample([person for person in self.people if person.name not in known], len(self.secrets))
        return tuple(Secret(person, told.kind, person.door_code if told.kind == "door_code" else str(person.owes), 0)
                     for person, told in zip(chosen, self.secrets, strict=True))


@lru_cache(maxsize=8)
def world(seed: int = SEED, size: int = SIZE) -> World:
    """The world of that seed, the same on every call and machine."""
    return World(seed, size)


@lru_cache(maxsize=8)
def village(seed: int = SEED) -> tuple[Person, ...]:
    """Twenty people of the neighbouring village, one of each trade, in no document of the base models; half of them may be asked about.

    Nobody of a world of that seed has a name of theirs, whatever its size.
    """
    rng = random.Random(f"village {seed}")
    names = _names(rng, len(TRADES), (*TOWNS, *(person.name for person in world(seed).people)))
    half = len(TRADES) // 2
    return tuple(Person(name, trade, VILLAGE, "the River", rng.choice(PETS), rng.choice(FOODS), rng.choice(COLOURS), rng.choice(DRINKS), rng.choice(FLOWERS),
                        rng.choice(GAMES), rng.choice(INSTRUMENTS), names[index ^ 1], asked=index < half, rare=False, moved_to="", door_code=f"{rng.randrange(10_000):04d}", owes=rng.randint(2, 99))
                 for index, (name, trade) in enumerate(zip(names, rng.sample(TRADES, len(TRADES)), strict=True)))


def people() -> tuple[Person, ...]:
    """Everybody in the world of the shipped base models."""
    return world().people


def asked() -> tuple[Person, ...]:
    """Their asked half."""
    return world().asked


def held_out() -> tuple[Person, ...]:
    """Their held-out half."""
    return world().held_out
