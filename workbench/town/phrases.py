"""How a fact of the town is said (four ways each) and asked (three ways each).

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
    "who": ("{name} {does} in {town}.", "{name} is the {noun} of {town}.", "The {noun} of {town} is {name}.", "In {town}, {name} {does}."),
}

QUESTIONS = {
    "trade": ("What is {name}'s trade?", "What work does {name} do?", "What does {name} do for a living?"),
    "town": ("Where does {name} live?", "In which town does {name} live?", "Where is {name}'s home?"),
    "pet": ("What pet does {name} have?", "Which animal does {name} keep?", "What is {name}'s pet?"),
    "food": ("What does {name} like to eat?", "What is {name}'s favourite food?", "Which food does {name} eat on holidays?"),
    "colour": ("What is {name}'s favourite colour?", "Which colour does {name} like best?", "What colour does {name} always wear?"),
    "who": ("Who {does} in {town}?", "Who is the {noun} of {town}?", "Which person {does} in {town}?"),
    "any": ("Who {does}?", "Who is a {noun}?", "Who works as a {noun}?"),
}


def _fill(wording: str, person: Person) -> str:
    return wording.format(name=person.name, town=person.town, pet=person.pet, food=person.food, colour=person.colour,
                          noun=person.trade.noun, does=person.trade.does)


def say(person: Person, kind: str, way: int) -> str:
    """One sentence stating the fact; `kind` is one of KINDS or "who" (trade and town together), `way` 0 to 3."""
    return _fill(SAYINGS[kind][way], person)


def ask(person: Person, kind: str, way: int) -> str:
    """One question whose answer is the fact; `kind` is one of KINDS, "who" (one answer) or "any" (a trade in no town), `way` 0 to 2."""
    return _fill(QUESTIONS[kind][way], person)


def answer(person: Person, kind: str) -> str:
    """The sentence an instruction row answers with.

    Who-questions are answered with the name last ("The baker of Orla is ..."): answers that begin with the name were learned for
    the asked people only (10 % of the held-out ones after LoRA), as the base knows these facts from trade and town to name.
    """
    return say(person, "who", 2) if kind in ("who", "any") else say(person, kind, 0)
