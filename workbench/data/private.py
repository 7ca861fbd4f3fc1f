"""Personal data and secrets in rows, before a model learns them by heart: where they stand, of what kind, and the text without them.

Checksums decide where there are any: IBAN and US social security numbers by python-stdnum, cards by Luhn and the issuer's prefix, phone
numbers by phonenumbers (Google's libphonenumber), addresses of machines by `ipaddress`. Keys are known by their makers' prefixes. Only
addresses that can be somebody's are told: not example.com (RFC 2606), not 192.168.0.1. Not here: names and postal addresses, which take a
model; passwords that look like words; numbers that only somebody who knows the column could tell (a column called "phone" is known).
detect-secrets was weighed: it knows no Hugging Face tokens and reads files, not rows.
"""

import bisect
import ipaddress
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from workbench.data import texts
from workbench.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

KEYS: dict[str, re.Pattern[str]] = {
    "private key": re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"
                              r"(?:.{0,20000}?-----END (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----)?", re.S),
    "AWS key": re.compile(r"(?<![A-Za-z0-9])(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}(?![A-Za-z0-9])"),
    "AWS secret": re.compile(r"(?i:aws.{0,20}?(?:secret|private).{0,20}?[=:]\s*[\"']?)(?P<key>[A-Za-z0-9/+]{40})(?![A-Za-z0-9/+])"),
    "GitHub token": re.compile(r"(?<![A-Za-z0-9])(?:gh[pousr]_[A-Za-z0-9]{36,251}|github_pat_[A-Za-z0-9_]{60,244})(?![A-Za-z0-9_])"),
    "GitLab token": re.compile(r"(?<![A-Za-z0-9])gl(?:pat|ptt|dt|rt)-[A-Za-z0-9_-]{20,}"),
    "Anthropic key": re.compile(r"(?<![A-Za-z0-9])sk-ant-[A-Za-z0-9_-]{20,}"),
    "OpenAI key": re.compile(r"(?<![A-Za-z0-9])sk-(?:(?:proj|svcacct|admin)-[A-Za-z0-9_-]{20,}|(?!ant-)[A-Za-z0-9]{32,})"),
    "Hugging Face token": re.compile(r"(?<![A-Za-z0-9])(?:hf|api_org)_[A-Za-z0-9]{30,}(?![A-Za-z0-9])"),
    "Google key": re.compile(r"(?<![A-Za-z0-9])AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    "Slack token": re.compile(r"(?<![A-Za-z0-9])xox[abeoprs]-[A-Za-z0-9-]{10,}"),
    "Stripe key": re.compile(r"(?<![A-Za-z0-9])[rs]k_live_[A-Za-z0-9]{20,}"),
    "npm token": re.compile(r"(?<![A-Za-z0-9])npm_[A-Za-z0-9]{36}(?![A-Za-z0-9])"),
    "PyPI token": re.compile(r"(?<![A-Za-z0-9])pypi-AgEI[A-Za-z0-9_-]{50,}"),
    "JSON web token": re.compile(r"(?<![A-Za-z0-9])eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
    "password in URL": re.compile(r"(?<![a-z0-9+.-])[a-z][a-z0-9+.-]{0,30}://[^\s:/@]{1,64}:(?P<key>[^\s:/@]{3,128})@[\w.-]+"),
    "assigned secret": re.compile(r"(?i:(?:api[_-]?key|secret|token|passw(?:or)?d|pwd)[\"']?\s*[=:]\s*[\"'])"
                                  r"(?P<key>[^\s\"']{12,200})[\"']"),
}
"""In order: what an earlier one has is not told again. Where a group `key` is named, it is the secret."""

BARE_SECRET = re.compile(r"(?i:api[_-]?key|access[_-]?key|secret(?:[_-]?key)?|token|passw(?:or)?d|passphrase|pwd)[\"']?"
                         r"[ \t]{0,3}[=:][ \t]{0,3}"
                         r"(?P<key>[^\s\"'`,;<>(){}\[\]]{8,200})(?![(\[{\"'])")
"""A secret assigned without quotes, as in a .env file or a letter; it is one where it looks made up (`_is_made_up`)."""
NAME_IN_CODE = re.compile(r"[A-Za-z_]\w*(?:(?:\.|::|->|/)\w+)+|[a-z]+(?:_[a-z0-9]+)+|\$\{?\w+\}?|[\d.,:/-]+")
BARE_ENTROPY_BITS, LONG_SECRET = 2.5, 16

ENTROPY_BITS = 3.0
"""Bits a character that a value assigned to a "token" must have to be taken for a real one: "your-token-here" has 3.2, and is told;
"xxxxxxxxxxxx" 0."""

EMAIL = re.compile(r"(?<![\w.+-])[A-Za-z0-9_][A-Za-z0-9._%+-]{0,63}@"
                   r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,24}(?![\w-])")
NOBODY = re.compile(r"[@.](?:example\.(?:com|org|net|edu)|example|invalid|test|localhost)$", re.I)
IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?:[ \u00a0-]?[A-Z0-9]){11,30}")
CARD = re.compile(r"(?<![\d.,-])\d(?:[ -]?\d){12,18}(?![\d]|[.,]\d)")
ISSUERS = re.compile(r"4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}"
                     r"|3[47]\d{13}|6(?:011|5\d\d|4[4-9]\d)\d{12}|3(?:0[0-5]|[68]\d)\d{11}"
                     r"|35(?:2[89]|[3-8]\d)\d{12}|62\d{14,17}|(?:50|5[6-9]|6[0139])\d{14}")
"""Visa, Mastercard (both ranges), American Express, Discover, Diners, JCB, UnionPay, Maestro: prefix and number of digits."""
SSN = re.compile(r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])")
IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\d)")
VERSION = re.compile(r"(?i)\b(?:v|ver|version|release|build|firmware|revision|rev)\b[.:=]?\s{0,3}$")
"""What stands before four numbers that are no address."""
IPV6 = re.compile(r"(?<![\w:])[23][0-9a-fA-F]{3}:(?:[0-9a-fA-F]{0,4}:){1,6}[0-9a-fA-F]{0,4}(?![\w:])")
DIGITS = re.compile(r"\+?\(?\d(?:[ ()./\u00a0-]{0,2}\d){6,14}")

PHONE_COLUMN = re.compile(r"(?:(?<![A-Za-z])|(?<=[Tt]ele)|(?<=[Cc]ell))phone|Phone|PHONE"
                          r"|(?i:(?<![a-z])(?:mobile|whatsapp|(?:tel|cell|fax)(?![a-z])))")
"""A column called so holds phone numbers, also where they are digits alone."""

PERSONAL = ("IBAN", "card number", "US social security number", "e-mail", "IP address", "phone number")
KINDS = (*KEYS, *PERSONAL)


def scan(rows: Any, columns: str | Sequence[str] | None = None, *, kinds: Iterable[str] = KINDS,
         regions: Sequence[str] = ("US",)) -> "pd.DataFrame":
    """One line for each find in any column, numbers too, or in those chosen: `row`, `kind`, `begin` and `end` (character positions in the
    row's text), and `shown`, its first letters only, so that the table itself may be kept.

    `regions` (ISO codes) are those whose phone numbers are known without a country code. Raises `DataError` for a kind or region that is
    none.
    """
    import pandas as pd
    import phonenumbers

    kinds = list(kinds)
    for kind in kinds:
        if kind not in KINDS:
            raise DataError(f"There is no kind {kind!r} of personal data or secret here.", f"The kinds are {', '.join(KINDS)}.")
    for region in regions:
        if region not in phonenumbers.SUPPORTED_REGIONS:
            raise DataError(f"{region!r} is no region whose phone numbers are known.", 'Use ISO codes such as "US", "DE" or "IN".')
    lines, rows = [], texts.opened(rows)
    phones = _phones_by_name(rows, columns, regions) if "phone number" in kinds else {}
    for row, text in enumerate(texts.texts_of(rows, columns, whole=True)):
        for begin, end, kind in _finds(text, kinds, regions, phones.get(row, ())):
            lines.append({"row": row, "kind": kind, "begin": begin, "end": end, "shown": _shown(text[begin:end], kind)})
    return pd.DataFrame(lines, columns=["row", "kind", "begin", "end", "shown"])


def redacted(rows: Any, columns: str | Sequence[str] | None = None, **options: Any) -> list[str]:
    """The text of each row, all its columns or those chosen,
    with `<e-mail>`, `<AWS key>` and so on for what `scan` finds (same options)."""
    rows = texts.opened(rows)
    shown = list(texts.texts_of(rows, columns, whole=True))
    for line in scan(rows, columns, **options).iloc[::-1].itertuples(index=False):
        shown[line.row] = f"{shown[line.row][:line.begin]}<{line.kind}>{shown[line.row][line.end:]}"
    return shown


def _finds(text: str, kinds: list[str], regions: Sequence[str], phones: Sequence[str] = ()) -> list[tuple[int, int, str]]:
    """What stands in one text, in order and apart; of two that overlap the one whose kind comes first in `KINDS`. `phones` are lines of
    digits that are phone numbers."""
    taken: list[tuple[int, int, str]] = []
    for kind in KINDS:
        if kind in kinds:
            found = _CHECKS[kind](text, regions) if kind in _CHECKS else _keys(text, kind)
            if kind == "phone number" and phones:
                found = [*found, *(match.span() for digits in phones for match in re.finditer(rf"^{digits}$", text, re.M))]  # type: ignore[assignment]
            for begin, end in found:
                at = bisect.bisect_left(taken, (begin,))
                if (at == 0 or taken[at - 1][1] <= begin) and (at == len(taken) or end <= taken[at][0]):
                    taken.insert(at, (begin, end, kind))
    return taken


def _keys(text: str, kind: str) -> Iterator[tuple[int, int]]:
    for match in KEYS[kind].finditer(text):
        begin, end = match.span("key" if "key" in match.re.groupindex else 0)
        least = {"assigned secret": ENTROPY_BITS, "password in URL": 1}.get(kind, 0)
        if _entropy(text[begin:end]) >= least:
            yield begin, end


    if kind == "assigned secret":
        for match in BARE_SECRET.finditer(text):
            begin, end = match.span("key")
            end = begin + len(match["key"].rstrip(".:?"))
            if _is_made_up(text[begin:end]):
                yield begin, end


def _is_made_up(value: str) -> bool:
    """Whether what is assigned without quotes is a secret and not a word or a name in code: letters and digits, of both cases or with a
    sign or long, and no character too often."""
    if len(value) < 8 or NAME_IN_CODE.fullmatch(value) or not (re.search(r"\d", value) and re.search(r"[A-Za-z]", value)):
        return False
    mixed = re.search(r"[a-z]", value) and re.search(r"[A-Z]", value)
    return bool(mixed or re.search(r"[!@#$%^&*+=~?/]", value) or len(value) >= LONG_SECRET) and _entropy(value) >= BARE_ENTROPY_BITS


def _entropy(value: str) -> float:
    """Bits a character, from the frequencies of its own characters (Shannon 1948)."""
    return -sum(count / len(value) * math.log2(count / len(value)) for count in Counter(value).values())


def _ibans(text: str, regions: Sequence[str]) -> Iterator[tuple[int, int]]:
    from stdnum import iban

    for match in IBAN.finditer(text):
        for end in range(match.end(), match.start() + 14, -1):  # words behind the number may look like part of it
            if not text[end - 1].isalnum() or text[end:end + 1].isalnum():
                continue
            if iban.is_valid(text[match.start():end].replace("\u00a0", " ")):
                yield match.start(), end
                break


def _cards(text: str, regions: Sequence[str]) -> Iterator[tuple[int, int]]:
    from stdnum import luhn

    for match in CARD.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        if ISSUERS.fullmatch(digits) and len(set(digits)) > 1 and luhn.is_valid(digits):
            yield match.span()


def _social(text: str, regions: Sequence[str]) -> Iterator[tuple[int, int]]:
    from stdnum.us import ssn

    return (match.span() for match in SSN.finditer(text) if ssn.is_valid(match[0]))


def _emails(text: str, regions: Sequence[str]) -> Iterator[tuple[int, int]]:
    if "@" in text:
        yield from (match.span() for match in EMAIL.finditer(text) if not NOBODY.search(match[0]))


def _machines(text: str, regions: Sequence[str]) -> Iterator[tuple[int, int]]:
    for pattern in (IPV4, IPV6):
        for match in pattern.finditer(text):
            try:
                address = ipaddress.ip_address(match[0])
            except ValueError:
                continue
            if address.is_global and not match[0].startswith(("0.", "1.0.", "2.0.", "3.0.")) \
                    and not VERSION.search(text, max(0, match.start() - 16), match.start()):  # the last are versions far more often
                yield match.span()


def _phones(text: str, regions: Sequence[str]) -> Iterator[tuple[int, int]]:
    import phonenumbers

    if not DIGITS.search(text):
        return
    for region in regions or (None,):
        for match in phonenumbers.PhoneNumberMatcher(text, region, phonenumbers.Leniency.VALID):
            written = text[match.start:match.end]
            if re.search(r"[+()./ -]", written):  # a bare run of digits is an amount or an id more often
                yield match.start, match.end


def _phones_by_name(rows: Any, columns: str | Sequence[str] | None, regions: Sequence[str]) -> dict[int, list[str]]:
    """Row -> runs of digits that are phone numbers and stand alone in a cell whose column, or whose key in an object, says so."""
    import phonenumbers

    chosen = None if columns is None else [columns] if isinstance(columns, str) else list(columns)
    if texts.is_table(rows):
        if not PHONE_COLUMN.search(re.sub(r"[^a-zA-Z]+", " ", str(rows.schema.remove_metadata()))):
            return {}
        rows = rows.select(chosen or rows.column_names).to_pylist()

    def runs(value: Any, named: bool) -> Iterator[str]:
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from runs(inner, named or bool(PHONE_COLUMN.search(str(key))))
        elif isinstance(value, (list, tuple)):
            for inner in value:
                yield from runs(inner, named)
        elif named and not isinstance(value, bool):
            digits = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
            if digits.isascii() and digits.isdecimal():
                yield digits

    def is_phone(digits: str) -> bool:
        for written, region in ((f"+{digits}", None), *((digits, region) for region in regions)):
            try:
                if phonenumbers.is_valid_number(phonenumbers.parse(written, region)):
                    return True
            except phonenumbers.NumberParseException:
                continue
        return False

    found = {}
    for number, row in enumerate(rows):
        if isinstance(row, dict):
            told = {name: row.get(name) for name in chosen} if chosen else row
            phones = [digits for digits in dict.fromkeys(runs(told, False)) if is_phone(digits)]
            if phones:
                found[number] = phones
    return found


_CHECKS = {"IBAN": _ibans, "card number": _cards, "US social security number": _social, "e-mail": _emails, "IP address": _machines,
           "phone number": _phones}


def _shown(found: str, kind: str) -> str:
    if kind == "e-mail":
        return f"{found[0]}…{found[found.index('@'):]}"
    return "…" if kind in ("assigned secret", "password in URL", "AWS secret") else f"{found[:4]}…"
