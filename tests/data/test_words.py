"""What counts as a word, in scripts whose letters carry marks and scripts without spaces: by Unicode's own categories, by hand."""

from __future__ import annotations

import random
import sys
import unicodedata

import pytest

from workbench.data import duplicates, ngrams, overlap


@pytest.mark.parametrize(("text", "words"), [
    ("हिन्दी भाषा, में पढ़ो।", ["हिन्दी", "भाषा", "में", "पढ़ो"]), ("বাংলা ভাষা", ["বাংলা", "ভাষা"]), ("தமிழ் மொழி", ["தமிழ்", "மொழி"]),
    ("ಕನ್ನಡ తెలుగు മലയാളം", ["ಕನ್ನಡ", "తెలుగు", "മലയാളം"]), ("שָׁלוֹם עוֹלָם", ["שָׁלוֹם", "עוֹלָם"]), ("مُحَمَّد كِتَاب", ["مُحَمَّد", "كِتَاب"]),
    ("ดีมาก ๑๒ ฿", ["ดี", "ม", "า", "ก", "๑๒"]), ("ລາວ", ["ລ", "າ", "ວ"]), ("ភាសា។", ["ភា", "សា"]),
    ("がくか\u3099", ["が", "く", "が"]), ("町の本", ["町", "の", "本"]), ("cafe\u0301 Größe", ["café", "grösse"]), ("❤️ x", ["x"])])
def test_marks_stay_with_their_letter(text, words):
    assert ngrams.words(text) == [unicodedata.normalize("NFKC", word) for word in words]


def test_every_mark_stands_inside_a_word_and_alone_in_none():
    for code in range(0x300, sys.maxunicode + 1):
        mark = chr(code)
        if unicodedata.category(mark) in ("Mn", "Mc") and mark not in "\u3099\u309a":  # the marks of kana are in the block of kana
            assert ngrams.WORD.findall(f"a{mark}b") == [f"a{mark}b"] and not ngrams.WORD.findall(f" {mark}"), hex(code)


def test_words_that_differ_in_their_vowels_only_are_no_copies_and_no_leak():
    chance = random.Random(0)
    consonants, vowels = "कखगचजतदनपबमयरलस", "ािीुूेैोौ"
    words = [chance.choice(consonants) + chance.choice(consonants) for _ in range(40)]
    one, other = (" ".join("".join(letter + chance.choice(vowels) for letter in word) for word in words) for _ in range(2))
    assert duplicates.near([one, other], threshold=0.5).empty and overlap.overlap([one], [other])["matched"].tolist() == [0]
    assert len(duplicates.near([one, one + " ॥"])) == 2 and overlap.overlap([one], [f"क {one}"])["coverage"].tolist() == [1]


def test_thai_without_spaces_is_compared_by_character():
    text = "ชาวบ้านในหมู่บ้านเล็กๆ ริมแม่น้ำเดินไปตลาดทุกเช้าเพื่อซื้อขนมปังและปลา"
    assert overlap.overlap([text], [f"เมื่อวาน{text}แล้วกลับบ้าน"])["coverage"].tolist() == [1]
    assert len(duplicates.near([text, text.replace("ปลา", "ข้าว")], threshold=0.7)) == 2
