"""Names the scripts of characters, for people who have to find a font that covers them."""

import re
import unicodedata
from collections.abc import Collection

MAX_NAMED = 10
"""Characters that a text names one by one. A person needs the script, and an example or two."""

_SCRIPT = re.compile(
    "(.+?) (?:CAPITAL|CHARACTER|CHOSEONG|COMPATIBILITY|CONSONANT|DEPENDENT|DIGIT|FINAL|FULL|HIEROGLYPH|IDEOGRAPH"
    "|INDEPENDENT|JONGSEONG|JUNGSEONG|LETTER|LIGATURE|LOGOGRAM|MARK|MODIFIER|NUMBER|NUMERIC|SIGN|SMALL|SUBJOINED"
    "|SUBSCRIPT|SUPERSCRIPT|SYLLAB|TONE|UNIFIED|VOWEL)"
)
"""The script in the name of a character, and the word after it."""

_CATEGORIES = {
    "Cc": "Control characters",
    "Cn": "Unassigned",
    "Co": "Private use",
    "Cs": "Surrogates",
    "No": "Symbols",
    "P": "Symbols",
    "S": "Symbols",
    "Z": "Spaces",
}

_EMOJI = range(0x1F000, 0x1FB00)
"""Blocks of pictures. Those of the blocks before, such as U+2611, are in fonts of symbols, too."""


def script_of(character: str) -> str:
    """Return the script of a character, as its Unicode name has it: Thai, Linear B; or Emoji, Symbols, and the like.

    Ideographs, which Chinese, Japanese and Korean share, are of the script "CJK".
    """
    category = unicodedata.category(character)
    if ord(character) in _EMOJI and category != "Cn":
        return "Emoji"
    if kind := _CATEGORIES.get(category) or _CATEGORIES.get(category[0]):
        return kind
    name = unicodedata.name(character, "UNKNOWN").replace("-", " ")
    found = _SCRIPT.match(name)
    script = found[1] if found else name.split()[0]
    return script if script == "CJK" else " ".join(word.capitalize() for word in script.split())


def described(characters: Collection[str]) -> str:
    """Return the scripts of some characters, and at most MAX_NAMED of them: ``Thai: ก U+0E01, ข U+0E02``."""
    ordered = sorted(characters)
    scripts: dict[str, list[str]] = {}
    for character in ordered[:MAX_NAMED]:
        scripts.setdefault(script_of(character), []).append(_named(character))
    text = "; ".join(f"{script}: {', '.join(named)}" for script, named in scripts.items())
    more = len(ordered) - MAX_NAMED
    return f"{text} and {more} more" if more > 0 else text


def _named(character: str) -> str:
    """Show only what stands by itself: a mark would join the comma before it, a control could do anything."""
    code = f"U+{ord(character):04X}"
    return code if unicodedata.category(character)[0] in "CMZ" else f"{character} {code}"
