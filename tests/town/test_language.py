"""Velish: translation is exact both ways for every clause there is, the lexicon is one-to-one, and its words are its own."""

import itertools
import random
import re

import pytest

from workbench.town.language import (
    ADJECTIVES,
    ANIMALS,
    COLOUR_WORDS,
    DICTIONARY_WAYS,
    FOODSTUFFS,
    GREETINGS,
    LEXICON,
    MASS_NOUNS,
    NOUNS,
    PARALLEL_WAYS,
    VERBS,
    WEATHER,
    Clause,
    dictionary_line,
    draw,
    english,
    parallel,
    passage,
    to_english,
    to_velish,
    velish,
)
from workbench.town.world import COLOURS, FOODS, PETS, TOWNS, TRADES, people

NAMES = ("Ralka", "Fibelin", "Orsavik", "Tamoda")
SENTENCE = re.compile(r"[A-Z][^.]*\.")

# --- the words -------------------------------------------------------------------------------------------------------


def test_the_lexicon_is_one_to_one_and_holds_every_group_whole():
    assert len(set(LEXICON.values())) == len(LEXICON) == 69


def test_every_pet_and_colour_of_the_world_has_a_velish_word():
    assert set(ANIMALS) == set(PETS) and set(COLOUR_WORDS) == set(COLOURS)


def test_velish_words_are_two_open_syllables_that_no_town_has():
    for word in LEXICON.values():
        assert re.fullmatch(r"([bcdfghjklmnpqrstvwyz][aeiou]){2}", word)
        assert not any(syllable in town.lower() for syllable in (word[:2], word[2:]) for town in TOWNS)


def test_no_velish_form_is_a_word_or_a_name_of_the_town():
    sentences = [english(Clause("Ralka", verb, noun, number=1 if noun in MASS_NOUNS else 2, negated=negated))
                 for verb, noun, negated in itertools.product(VERBS, NOUNS, (False, True))]
    phrases = [*PETS, *FOODS, *COLOURS, *TOWNS, *LEXICON, *sentences]
    phrases += [form for trade in TRADES for form in (trade.noun, trade.does, trade.doing)] + [person.name for person in people()]
    taken = set(re.findall(r"[a-z]+", " ".join(phrases).lower()))
    assert {"geese", "have", "bakes", "orla", "goat"} <= taken
    assert not taken & (set(LEXICON.values()) | {NOUNS[noun] + "n" for noun in NOUNS})


def test_a_plural_is_never_another_word():
    plurals = {NOUNS[noun] + "n" for noun in NOUNS if noun not in MASS_NOUNS}
    assert len(plurals) == len(NOUNS) - len(MASS_NOUNS) and not plurals & set(LEXICON.values())


# --- the grammar -----------------------------------------------------------------------------------------------------

SAID = (
    (Clause("Ralka", "has", "cat"), "Ralka has a cat.", "Ralka zibo javu."),
    (Clause("Ralka", "has", "cat", "red", 2, True), "Ralka does not have two red cats.", "Ralka zibon zuvi soko javu hoso."),
    (Clause("Ralka", "sees", "egg"), "Ralka sees an egg.", "Ralka nuho nehu."),
    (Clause("Ralka", "sees", "egg", "big"), "Ralka sees a big egg.", "Ralka nuho vizu nehu."),
    (Clause("Ralka", "buys", "goat", "orange"), "Ralka buys an orange goat.", "Ralka yonu tuze kuzu."),
    (Clause("Ralka", "sells", "goose", number=3), "Ralka sells three geese.", "Ralka vorun zige biwo."),
    (Clause("Ralka", "sells", "mouse", number=4), "Ralka sells four mice.", "Ralka subun kune biwo."),
    (Clause("Ralka", "likes", "pony", "white", 10), "Ralka likes ten white ponies.", "Ralka bumun nezi munu poze."),
    (Clause("Ralka", "buys", "donkey", number=5), "Ralka buys five donkeys.", "Ralka hojun tewu kuzu."),
    (Clause("Ralka", "eats", "bread", "good"), "Ralka eats good bread.", "Ralka koje jaze yuwu."),
    (Clause("Ralka", "likes", "rain", negated=True), "Ralka does not like rain.", "Ralka wogu poze hoso."),
)


@pytest.mark.parametrize("clause, in_english, in_velish", SAID)
def test_sentences_are_said_as_the_grammar_has_them(clause, in_english, in_velish):
    assert (english(clause), velish(clause)) == (in_english, in_velish)
    assert (to_velish(in_english), to_english(in_velish)) == (in_velish, in_english)


def test_translation_is_a_bijection_over_every_clause_of_one_name():
    said = itertools.product(VERBS, NOUNS, ("", *ADJECTIVES), range(1, 11), (False, True))
    clauses = [Clause("Ralka", verb, noun, adjective, number, negated) for verb, noun, adjective, number, negated in said
               if number == 1 or noun not in MASS_NOUNS]
    in_english, in_velish = [english(clause) for clause in clauses], [velish(clause) for clause in clauses]
    assert len(set(in_english)) == len(set(in_velish)) == len(clauses) == 6 * 17 * 2 * (21 * 10 + 9)
    assert [to_velish(sentence) for sentence in in_english] == in_velish
    assert [to_english(sentence) for sentence in in_velish] == in_english


@pytest.mark.parametrize("greeting", GREETINGS)
def test_greetings_translate_both_ways(greeting):
    said, meant = f"{greeting.capitalize()}, Ralka.", f"{GREETINGS[greeting].capitalize()}, Ralka."
    assert to_velish(said) == meant and to_english(meant) == said


def test_spaces_and_a_missing_full_stop_do_not_matter():
    assert to_velish("  Ralka has  a cat\n") == "Ralka zibo javu."


# --- what cannot be said ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("translate, sentence, complaint", (
    (to_velish, "Ralka has a dragon.", "'dragon'"), (to_velish, "Ralka loves a cat.", "'loves'"),
    (to_velish, "Ralka has two breads.", "'breads'"), (to_english, "Ralka zibo zuvo javu.", "'zuvo'"),
    (to_english, "Ralka cat javu.", "'cat'"), (to_english, "Ralka kojen javu.", "'kojen'"),
    (to_velish, "Howdy, Ralka.", "'Howdy'"), (to_english, "Hello, Ralka.", "'Hello'"),
    (to_velish, "Ralka has an cat.", "'Ralka has a cat.'"), (to_velish, "Ralka have a cat.", "'Ralka has a cat.'"),
    (to_velish, "Ralka has one cat.", "'Ralka has a cat.'"), (to_velish, "Ralka has two cat.", "'Ralka has two cats.'"),
    (to_velish, "Ralka has a cat red.", "'Ralka has a red cat.'"), (to_velish, "Ralka has a red blue cat.", "'Ralka has a blue cat.'"),
    (to_velish, "Ralka has three bread.", "not counted"), (to_velish, "ralka has a cat.", "'ralka' is no name"),
    (to_english, "Ralka javu zibo.", "'Ralka zibo javu.'"), (to_english, "Ralka zuvi zibo javu.", "'Ralka zibo zuvi javu.'"),
    (to_english, "Ralka zibo voge javu.", "'Ralka zibo javu.'"), (to_english, "Ralka zibo soko javu.", "'Ralka zibon soko javu.'"),
    (to_velish, "Ralka has.", "needs a name, a verb and a noun"), (to_english, "", "needs a name, a verb and a noun"),
))
def test_what_is_no_sentence_is_refused_and_the_word_named(translate, sentence, complaint):
    with pytest.raises(ValueError, match=re.escape(complaint)):
        translate(sentence)


@pytest.mark.parametrize("arguments, complaint", (
    (("ralka", "has", "cat"), "'ralka' is no name"), (("Ralka", "flies", "cat"), "'flies' is no verb"),
    (("Ralka", "has", "dragon"), "'dragon' is no noun"), (("Ralka", "has", "cat", "tall"), "'tall' is no adjective"),
    (("Ralka", "has", "cat", "", 0), "number 0"), (("Ralka", "has", "cat", "", 11), "number 11"),
    (("Ralka", "has", "bread", "", 2), "'bread' is not counted"),
))
def test_a_clause_that_cannot_be_said_is_refused(arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        Clause(*arguments)


# --- what is drawn ---------------------------------------------------------------------------------------------------


def test_drawn_clauses_translate_and_use_every_word_that_a_clause_can():
    rng = random.Random(1)
    clauses = [draw(rng, NAMES) for _ in range(5_000)]
    assert all(to_velish(english(clause)) == velish(clause) and to_english(velish(clause)) == english(clause) for clause in clauses)
    assert {clause.subject for clause in clauses} == set(NAMES) and {clause.verb for clause in clauses} == set(VERBS)
    assert {clause.object for clause in clauses} == set(NOUNS) and {clause.adjective for clause in clauses} == {"", *ADJECTIVES}
    assert {clause.number for clause in clauses} == set(range(1, 11)) and {clause.negated for clause in clauses} == {False, True}


def test_drawn_clauses_make_sense_and_give_nobody_an_animal():
    rng = random.Random(2)
    for clause in (draw(rng, NAMES) for _ in range(5_000)):
        assert clause.object in FOODSTUFFS or clause.verb not in ("has", "eats")
        assert clause.object not in WEATHER or clause.verb in ("likes", "sees")
        assert clause.object in ANIMALS or clause.adjective not in COLOUR_WORDS


def test_a_passage_has_so_many_sentences_about_at_most_two_people_and_is_velish_throughout():
    greeted = 0
    for seed in range(100):
        sentences = SENTENCE.findall(passage(random.Random(seed), NAMES, 6))
        assert len(sentences) == 6 and len({re.findall(r"[A-Z][a-z]+", sentence)[-1] for sentence in sentences}) <= 2
        assert [to_velish(to_english(sentence)) for sentence in sentences] == sentences
        greeted += "," in sentences[0]
    assert 10 < greeted < 60


def test_parallel_text_says_the_same_in_both_languages_in_every_wording():
    found = set()
    for seed in range(200):
        line = parallel(random.Random(seed), NAMES)
        for index, way in enumerate(PARALLEL_WAYS):
            pattern = re.escape(way).replace(r"\{english\}", r"(?P<english>[^.:]+\.)").replace(r"\{velish\}", r"(?P<velish>[^.:]+\.)")
            if match := re.fullmatch(pattern, line):
                found.add(index)
                assert to_velish(match["english"]) == match["velish"]
                break
        else:
            pytest.fail(f"no wording of parallel text gives {line!r}")
    assert found == set(range(len(PARALLEL_WAYS)))


def test_dictionary_lines_name_both_words_and_refuse_others():
    assert dictionary_line("bread", 0) == "The Velish word for bread is koje."
    for word, way in itertools.product(LEXICON, range(len(DICTIONARY_WAYS))):
        line = dictionary_line(word, way)
        assert {word, LEXICON[word]} <= set(re.findall(r"\w+", line)) and "?" not in line
    with pytest.raises(ValueError, match="'dragon' has no Velish word"):
        dictionary_line("dragon", 0)


@pytest.mark.parametrize("make", (draw, parallel, lambda rng, names: passage(rng, names, 5)))
def test_the_seed_decides(make):
    assert make(random.Random(7), NAMES) == make(random.Random(7), NAMES)
    assert len({make(random.Random(seed), NAMES) for seed in range(20)}) > 10
