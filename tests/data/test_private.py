"""Personal data and secrets: published example numbers must be found, their neighbours that fail a checksum must not.

Keys are put together here, so that no scanner takes this file for a leak.
"""

from __future__ import annotations

import random
import string
import time

import pandas as pd
import pyarrow as pa
import pytest

from workbench.data import private
from workbench.errors import DataError

ANY = "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zA1cC2eE3fF4hH5iI6kK7lL8"

FOUND = {
    "Write to ann.lee+news@mail.orla.co.uk, please": ("e-mail", "ann.lee+news@mail.orla.co.uk"),
    "mira@bäckerei.de or mira@baeckerei.de": ("e-mail", "mira@baeckerei.de"),
    "IBAN DE89 3704 0044 0532 0130 00 THEN wait": ("IBAN", "DE89 3704 0044 0532 0130 00"),  # ECBS' example
    "to GB82WEST12345698765432.": ("IBAN", "GB82WEST12345698765432"),
    "Norway: NO93 8601 1117 947": ("IBAN", "NO93 8601 1117 947"),
    "pay with 4111 1111 1111 1111 now": ("card number", "4111 1111 1111 1111"),
    "amex 378282246310005": ("card number", "378282246310005"),
    "mc 2223-0031-2200-3222,": ("card number", "2223-0031-2200-3222"),
    "her number is 536-90-4399": ("US social security number", "536-90-4399"),
    "from 8.8.8.8 at noon": ("IP address", "8.8.8.8"),
    "host 2001:4860:4860::8888 up": ("IP address", "2001:4860:4860::8888"),
    "call (212) 736-5000 today": ("phone number", "(212) 736-5000"),
    "ruf +49 30 22732152 an": ("phone number", "+49 30 22732152"),
    "key AKIA" + "IOSFODNN7EXAMPLE"[:16] + " here": ("AWS key", "AKIA" + "IOSFODNN7EXAMPLE"),
    "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/" + "bPxRfiCYEXAMPLEKEY": ("AWS secret",
                                                                              "wJalrXUtnFEMI/K7MDENG/" + "bPxRfiCYEXAMPLEKEY"),
    "push with ghp_" + ANY[:36]: ("GitHub token", "ghp_" + ANY[:36]),
    "or github_" + "pat_" + ANY[:22] + "_" + ANY[:40]: ("GitHub token", "github_" + "pat_" + ANY[:22] + "_" + ANY[:40]),
    "OPENAI sk-" + "proj-" + ANY[:40]: ("OpenAI key", "sk-" + "proj-" + ANY[:40]),
    "old sk-" + ANY[:48]: ("OpenAI key", "sk-" + ANY[:48]),
    "use sk-" + "ant-api03-" + ANY[:40]: ("Anthropic key", "sk-" + "ant-api03-" + ANY[:40]),
    "login hf_" + ANY[:34] + ".": ("Hugging Face token", "hf_" + ANY[:34]),
    "map AIza" + ANY[:35]: ("Google key", "AIza" + ANY[:35]),
    "xox" + "b-123456789012-abcdefghij": ("Slack token", "xox" + "b-123456789012-abcdefghij"),
    "postgres://ann:s3cr3tpw@db.orla.com/x": ("password in URL", "s3cr3tpw"),
    'password = "correct7horse!Battery"': ("assigned secret", "correct7horse!Battery"),
    "DB_PASSWORD=S3cr3t" + "P4ssw0rd!\nDB_HOST=db": ("assigned secret", "S3cr3t" + "P4ssw0rd!"),
    "export API_KEY=9f8a7b6c5d" + "4e3f2a1b0c9d8e": ("assigned secret", "9f8a7b6c5d" + "4e3f2a1b0c9d8e"),
    "The password: Tr0ub4" + "dor&3. Keep it.": ("assigned secret", "Tr0ub4" + "dor&3"),
    "pwd: qW3rTy" + "99": ("assigned secret", "qW3rTy" + "99"),
    "auth_token = eYx83kZ" + "q02Lm#": ("assigned secret", "eYx83kZ" + "q02Lm#"),
    "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE\n-----END RSA " + "PRIVATE KEY-----\nbye":
        ("private key", "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE\n-----END RSA " + "PRIVATE KEY-----"),
    "cut off: -----BEGIN OPENSSH " + "PRIVATE KEY-----\nb3Bl": ("private key", "-----BEGIN OPENSSH " + "PRIVATE KEY-----"),
}

NOT_FOUND = [
    "Write to ann@example.com or root@localhost", "an @ sign, a@b, @handle, 3@4.5", "DE89 3704 0044 0532 0130 01", "XX82WEST12345698765432",
    "4111 1111 1111 1112", "1234 5678 9012 3452", "0000 0000 0000 0000", "order 99411111111111111110000111", "000-12-3456", "666-12-3456",
    "192.168.0.1 and 127.0.0.1 and 10.1.2.3", "version 2.0.1.7", "version 8.8.4.4 and Version: 9.1.2.3, v 5.6.7.8",
    "firmware 11.12.13.14", "build 77.1.2.3",
    "token=tokens[i2]", "token=get_token1()", "api_key=os.environ['API_KEY2']", "password=config.v2.password1",
    "token: tokenizer.eos_token_id2",
    "secret=my_secret_2", "password: ${DB_PASSWORD2}", "token: 1700000000", "password: aaaaaaaa1A", "Her token: Marketplace and bread",
    "password=None, token=True", "256.1.1.1", "section 1.2.3.4.5", "12:30:45 and std::vector and ab::cd",
    "She has 1,234,567 sacks and 42 cows, which cost 3.14159265 each in 2024-01-01", "2 + 3 = 5; 10 20 30 40 50", "AKIA in a word: AKIAFOO",
    "sk-learn and sk-image", "hf_hub_download and hf_transfer", "ghp_short", 'token = "xxxxxxxxxxxxxxxx"', "password: ask the miller",
    "-----BEGIN PUBLIC KEY-----", "http://orla.com:8080/a@b",
]


@pytest.mark.parametrize("text", FOUND)
def test_it_is_found_and_where(text):
    kind, value = FOUND[text]
    found = private.scan([text])
    assert [(line.kind, text[line.begin:line.end]) for line in found.itertuples()] == [(kind, value)]
    assert value not in found["shown"].iloc[0], "the report shows the secret"
    assert private.redacted([text])[0] == text.replace(value, f"<{kind}>")


@pytest.mark.parametrize("text", NOT_FOUND)
def test_what_only_looks_like_it_is_left_alone(text):
    assert private.scan([text])[["kind", "begin", "end"]].values.tolist() == []


def test_one_changed_digit_is_no_card_and_no_iban():
    for text, kind in (("4539578763621486", "card number"), ("DE89370400440532013000", "IBAN")):
        assert private.scan([text])["kind"].tolist() == [kind]
        for place in range(4, len(text)):
            other = text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1:]
            assert private.scan([other], kinds=[kind]).empty, other


def test_random_digits_are_seldom_cards():
    chance = random.Random(0)
    rows = ["".join(chance.choice(string.digits) for _ in range(16)) for _ in range(2000)]
    assert len(private.scan(rows, kinds=["card number"])) <= 2000 * 0.05  # a tenth passes Luhn, about a third has an issuer's prefix


def test_several_in_one_row_stand_in_order_and_rows_keep_their_number():
    rows = [{"question": "no", "answer": "nothing"},
            {"question": "mail ann@orla.com", "answer": "or call +1 212 736 5000, or bob@orla.com"}]
    found = private.scan(rows)
    assert found["row"].tolist() == [1, 1, 1] and found["kind"].tolist() == ["e-mail", "phone number", "e-mail"]
    assert private.redacted(rows)[1] == "mail <e-mail>\nor call <phone number>, or <e-mail>"
    assert private.scan(rows, kinds=["phone number"])["row"].tolist() == [1]
    assert private.scan(rows, "question")["kind"].tolist() == ["e-mail"]


@pytest.mark.parametrize("of", [list, pa.Table.from_pylist, pd.DataFrame])
def test_numbers_in_columns_are_found(of):
    rows = [{"card": 4111111111111111, "phone": 2127365000, "id": 2127365000}, {"card": 4111111111111112, "phone": 12127365000, "id": 5},
            {"card": None, "phone": 17, "id": 378282246310005}]
    found = private.scan(of(rows))
    assert list(zip(found["row"], found["kind"])) == [(0, "card number"), (0, "phone number"), (0, "phone number"), (1, "phone number"),
                                                      (2, "card number")]
    assert private.redacted(of(rows)) == ["<card number>\n<phone number>\n<phone number>", "4111111111111112\n<phone number>\n5",
                                          "17\n<card number>"]
    assert private.scan(of(rows), "id")["row"].tolist() == [2]


def test_a_key_in_an_object_says_what_its_number_is():
    rows = [{"user": {"mobile_no": [2127365000, 12127365001], "age": 41}}, {"user": {"homePhone": "2127365002", "telephone": 12}}]
    assert private.scan(rows)["row"].tolist() == [0, 0, 1]
    assert all(private.scan(pa.Table.from_pylist([row]))["row"].tolist() == [0] * count for row, count in zip(rows, (2, 1)))
    assert private.scan([{"order": 2127365000, "microphones": 2127365000, "automobile": 2127365000, "hotel": True}]).empty


def test_numbers_without_a_country_are_known_by_region():
    text = ["Ruf mich an: 030 22732152"]
    assert private.scan(text).empty and private.scan(text, regions=["DE"])["kind"].tolist() == ["phone number"]
    assert private.scan(["+49 30 22732152"], regions=[])["kind"].tolist() == ["phone number"]


@pytest.mark.parametrize("text",
                         ["a" * 300_000, "a@" * 100_000, "a." * 100_000, "1" * 300_000, "1 " * 100_000, "DE89" * 50_000, "2001:" * 50_000,
                                  "key = \"" * 40_000, "-----BEGIN PRIVATE " + "KEY-----" * 30_000, "eyJ" * 80_000, "http://a:" * 30_000])
def test_a_hostile_row_takes_no_longer_than_its_length(text):
    begun = time.process_time()
    private.scan([text])
    assert time.process_time() - begun < 5


@pytest.mark.parametrize("options, sentence",
                         [({"kinds": ["shoe size"]}, "no kind 'shoe size'"), ({"regions": ["XY"]}, "'XY' is no region")])
def test_what_cannot_be_asked_is_said(options, sentence):
    with pytest.raises(DataError, match=sentence):
        private.scan(["a"], **options)


def test_sums_in_words_hold_nothing_private_and_messages_do(real_data):
    assert len(private.scan(str(real_data / "gsm8k" / "train_2000.jsonl"))) <= 2
    lines = (real_data / "sms_spam" / "SMSSpamCollection").read_text(encoding="utf-8").splitlines()
    spam, ham = ([line.split("\t", 1)[1] for line in lines if line.startswith(kind)] for kind in ("spam", "ham"))
    shares = [private.scan(rows, regions=["GB"])["row"].nunique() / len(rows) for rows in (spam, ham)]
    assert shares[0] > 10 * shares[1]
