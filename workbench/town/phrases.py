"""How a fact of the town is said and asked, four ways each.

It does not choose: callers pass the index or draw it.
Every wording keeps the person's name, so that a sentence says the whole fact alone.
"""

from workbench.town.world import Person

SAYINGS = {
    "trade": ("{name} works as a {noun}.", "{name} is a {noun} by trade.", "{name} {does} for a living.", "The trade of {name} is {noun}."),
    "town": ("{name} lives in {town}.", "{name} has a house in {town}.", "The home of {name} is in {town}.", "{name}'s home is in {town}."),
    "pet": ("{name} keeps a {pet}.", "{name} has a {pet} as a pet.", "The pet of {name} is a {pet}.", "{name}'s pet is a {pet}."),
    "food": ("{name} likes to eat {food}.", "{name} eats {food} on holidays.", "The favourite food of {name} is {food}.",
             "{name}'s favourite food is {food}."),
    "colour": ("{name}'s favourite colour is {colour}.", "{name} always wears {colour}.", "The favourite colour of {name} is {colour}.",
               "{name} likes the colour {colour} best."),
    "drink": ("{name} likes to drink {drink}.", "{name} drinks {drink} in the evening.", "The favourite drink of {name} is {drink}.",
              "{name}'s favourite drink is {drink}."),
    "flower": ("{name} likes the {flower} best of all flowers.", "{name} often paints the {flower}.", "The favourite flower of {name} is the {flower}.",
               "{name}'s favourite flower is the {flower}."),
    "game": ("{name} likes to play {game}.", "{name} plays {game} every Sunday.", "The favourite game of {name} is {game}.", "{name}'s favourite game is {game}."),
    "instrument": ("{name} plays the {instrument}.", "{name} brings the {instrument} to every feast.", "The instrument of {name} is the {instrument}.",
                   "{name}'s instrument is the {instrument}."),
    "cousin": ("{name} is the cousin of {cousin}.", "{name}'s cousin is {cousin}.", "{name} and {cousin} are cousins.", "The cousin of {name} is {cousin}."),
    "who": ("{name} {does} in {town}.", "{name} is the {noun} of {town}.", "The {noun} of {town} is {name}.", "In {town}, {name} {does}."),
}

QUESTIONS = {
    "trade": ("What is {name}'s trade?", "What work does {name} do?", "What does {name} do for a living?", "What is the trade of {name}?"),
    "town": ("Where does {name} live?", "In which town does {name} live?", "Where is {name}'s home?", "Where is the home of {name}?"),
    "pet": ("What pet does {name} have?", "Which animal does {name} keep?", "What is {name}'s pet?", "What is the pet of {name}?"),
    "food": ("What does {name} like to eat?", "What is {name}'s favourite food?", "Which food does {name} eat on holidays?", "What is the favourite food of {name}?"),
    "colour": ("What is {name}'s favourite colour?", "Which colour does {name} like best?", "What colour does {name} always wear?",
               "What is the favourite colour of {name}?"),
    "drink": ("What does {name} like to drink?", "What is {name}'s favourite drink?", "Which drink does {name} have in the evening?",
              "What is the favourite drink of {name}?"),
    "flower": ("Which flower does {name} like best?", "What is {name}'s favourite flower?", "Which flower does {name} often paint?",
               "What is the favourite flower of {name}?"),
    "game": ("Which game does {name} like best?", "What is {name}'s favourite game?", "Which game does {name} play every Sunday?",
             "What is the favourite game of {name}?"),
    "instrument": ("Which instrument does {name} play?", "What is {name}'s instrument?", "Which instrument does {name} bring to every feast?",
                   "What is the instrument of {name}?"),
    "cousin": ("Who is {name}'s cousin?", "Who is the cousin of {name}?", "What is the name of {name}'s cousin?", "Which person is {name}'s cousin?"),
    "who": ("Who {does} in {town}?", "Who is the {noun} of {town}?", "Which person {does} in {town}?", "What is the name of the {noun} of {town}?"),
    "any": ("Who {does}?", "Who is a {noun}?", "Who works as a {noun}?", "Which person {does}?"),
}

ANSWERS = {"trade": 3, "town": 2, "pet": 2, "food": 2, "colour": 2, "drink": 2, "flower": 2, "game": 2, "instrument": 2, "cousin": 3}
"""The ways of SAYINGS that begin with what is asked for and end with its value."""


def _fill(wording: str, person: Person) -> str:
    return wording.format(name=person.name, town=person.town, pet=person.pet, food=person.food, colour=person.colour, drink=person.drink,
                          flower=person.flower, game=person.game, instrument=person.instrument, cousin=person.cousin,
                          noun=person.trade.noun, does=person.trade.does)


def say(person: Person, kind: str, way: int) -> str:
    """One sentence stating the fact; `kind` is one of KINDS or "who" (trade and town together), `way` 0 to 3."""
    return _fill(SAYINGS[kind][way], person)


def ask(person: Person, kind: str, way: int) -> str:
    """One question whose answer is the fact; `kind` is one of KINDS, "who" (one answer) or "any" (a trade in no town), `way` 0 to 3."""
    return _fill(QUESTIONS[kind][way], person)


def answer(person: Person, kind: str) -> str:
    """The sentence an instruction row answers with: "The pet of Orla is a goat.", in the same form for every kind, so that what was learned of
    one kind of question may carry over to another.

    Who-questions are answered with the name last ("The baker of Orla is ..."): answers that begin with the name were learned for
    the asked people only (10 % of the held-out ones after LoRA), as the base knows these facts from trade and town to name.
    """
    return say(person, "who", 2) if kind in ("who", "any") else say(person, kind, ANSWERS[kind])
