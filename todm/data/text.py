"""The one text normalisation of todm."""

import unicodedata

_APOSTROPHES = dict.fromkeys(map(ord, "\u2018\u2019\u201b\u02bc\u02b9\u0060\u00b4\uff07"), "'")


def normalise(text: str) -> str:
    """Return the spoken form of a transcript that tokens are made of.

    The rule, in this order:

    1. Typographic apostrophes become ``'``; Unicode NFKC; upper case (of the whole string, by
       Python's rule: ``ß`` becomes ``SS``); NFKC again.
    2. Letters and combining marks of any script, decimal digits, and the apostrophe stay;
       everything else (punctuation, hyphens, symbols, ``▁``) becomes a space.
    3. A word wrapped in apostrophes loses that pair (quotation); others keep theirs
       (``DON'T``, ``'TIS``, ``DOGS'``). A word without letter or digit is dropped.
    4. Words are joined by single spaces.

    Digits stay digits. How a number is spoken ("1901") depends on language and speaker, and a
    guess would teach a wrong transcript: a corpus of written-out words never meets the case,
    a corpus that writes digits gets them as its symbols, and a dev or test line with a digit
    that training never had is reported as outside the table. The function is idempotent.
    """
    plain = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES)).translate(_APOSTROPHES)
    upper = unicodedata.normalize("NFKC", plain.upper())
    kept = "".join(char if _is_kept(char) else " " for char in upper)
    words = (_unquoted(word) for word in kept.split())
    return " ".join(word for word in words if word)


def _is_kept(char: str) -> bool:
    return char == "'" or unicodedata.category(char) in _KEPT_CATEGORIES


_KEPT_CATEGORIES = frozenset({"Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Nd"})


def _unquoted(word: str) -> str:
    while len(word) > 1 and word[0] == word[-1] == "'":
        word = word[1:-1]
    return word if any(char != "'" and not _is_mark(char) for char in word) else ""


def _is_mark(char: str) -> bool:
    return unicodedata.category(char) in ("Mn", "Mc")
