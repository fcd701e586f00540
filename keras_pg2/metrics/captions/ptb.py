"""Captions as tokens of the Penn Treebank, as captions are scored everywhere.

CIDEr and its kin of COCO captions tokenize by pycocoevalcap: Stanford CoreNLP 3.4.1's
`PTBTokenizer -preserveLines -lowerCase`, which needs Java, and then without a list of
punctuation. `tokenize` gives those tokens without Java. Conventions of the Treebank:
clitics are tokens ("does n't", "dog 's"), so are parts of "can not" and "gon na";
abbreviations and initials keep their full stop; numbers, dates, addresses and words
with hyphens are one token. Quirks are kept, as scores depend on them: brackets stay as
"-lrb-", "!!" stays where "!" goes, the euro becomes "$" and the pound "#". Rows are
tokenized one by one, where the original now and then takes the next row's first word
for what follows an abbreviation.

The longest token of all rules wins, what must follow it counted, as in the lexer that
the original is generated from; of equally long ones the first rule's.
"""

from __future__ import annotations

import re
from functools import lru_cache

from keras_pg2.metrics.captions.characters import (
    LETTERS,
    MARKS,
    SYMBOLS,
    character_class,
)

PUNCTUATION = frozenset(["''", "'", "``", "`", *".?!,:;-", "--", "..."])
"""Tokens that are left out; pycocoevalcap names brackets too, but in upper case."""

_L = f"{character_class(LETTERS, MARKS)}\u00ad"
_DIGIT = "[0-9\u0660-\u0669\u06f0-\u06f9]"
_ALPHA = f"(?!{_DIGIT})[{_L}]"
_APOSTROPHE = r"(?:['\u0092\u2019]|&apos;)"
_ANY_APOSTROPHE = r"(?:['`\u0091\u0092\u2018\u2019\u201b]|&apos;)"
_ACCENTED = "&[aeiouAEIOU](?:acute|grave|uml);"
_LETTERS = f"(?:[{_L}]|{_ACCENTED})+"
_WORD = (
    f"(?:(?!{_DIGIT}){_LETTERS}(?:[.!?]{_ALPHA}(?:[{_L}]|{_ACCENTED})*)*|{_LETTERS})"
)
_NUMBER = rf"(?:{_DIGIT}*(?:[.:,\u00ad\u066b\u066c]{_DIGIT}+)+|{_DIGIT}+)"
_INITIALS = r"[A-Za-z](?:\.[A-Za-z])*\."
_BLANK = "[ \u00a0]"
_NO_LETTER = f"(?!{_ALPHA})"

_ABBREVIATIONS = """
al|cf|co|ct|dr|ft|ga|jr|ky|lt|md|mo|mr|ms|mt|ph|rd|rt|sq|sr|st|va|vs|vt|wm|adj|adm|adv
|ala|apr|aug|ave|bhd|cie|col|cos|cpl|dak|dec|det|drs|ens|esq|est|etc|ext|feb|fla|fri|gen
|gov|hon|inc|ind|jan|jos|jul|jun|kan|ltd|maj|mar|mfg|mme|mon|mrs|mtg|neb|nev|nov|oct|pfc
|plc|pte|pty|pvt|rep|rev|sen|sep|seq|sfc|sgt|spc|ste|sys|tel|thu|tue|wed|wis|wyo|alex
|ariz|assn|asst|atty|bldg|blvd|brig|bros|capt|cmdr|colo|conn|corp|dept|elec|govs|insp
|intl|invt|kans|mich|minn|mlle|mont|msgr|natl|okla|penn|ppte|ppty|pres|prof|ptes|ptys
|reps|sens|sept|supt|tenn|tues|univ|wisc|assoc|attys|bancorp|calif|comdr|lieut|messrs
|profs|supts|thurs|treas|ph\\.d|ed\\.d
""".replace("\n", "")
_CAPITAL_ABBREVIATIONS = "Az|La|Pa|Ark|Del|Ill|Ore|Tex|Mass|Miss|Wash"
_FIRST_WORDS = """
A|About|According|Additionally|After|An|As|At|But|Earlier|He|Her|Here|However|If|In|It
|Last|Many|More|Now|Once|One|Other|Our|She|Since|So|Some|Such|That|The|Their|Then|There
|These|They|This|We|What|When|While|Yet|You
""".replace("\n", "")
"""A letter before one of these ends a sentence, and is no initial."""
_ABBREVIATIONS_OF_NUMBERS = "ca|no|op|pp|art|fig|nos|figs|prop"


_PART = f"(?:[DOLdol]{_APOSTROPHE}(?=[{_L}][{_L}]))?[{character_class(LETTERS)}\u00ad]+"
_ASCII_PART = "[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*"
_SLASH = "[/\u2044]"
_NAME = "[A-Za-z][A-Za-z0-9_:.-]*"
_PHONE = (
    rf"(?:\({_DIGIT}{{2,3}}\){_BLANK}?"
    rf"|(?:\+\+?)?(?:{_DIGIT}{{2,4}}[- \u00a0])?{_DIGIT}{{2,4}}[- \u00a0])"
    rf"{_DIGIT}{{3,4}}[- \u00a0]?{_DIGIT}{{3,5}}"
    rf"|(?:(?:\+\+?)?{_DIGIT}{{2,4}}\.)?{_DIGIT}{{2,4}}\.{_DIGIT}{{3,4}}\.{_DIGIT}{{3,5}}"
)
_NO_URL = r"\s\"<>|()"
_END_OF_URL = r"[^\s\"<>|.!?(){},-]"
_PATH = f"(?:/[^{_NO_URL}]+{_END_OF_URL})?"
_NO_ADDRESS = r"\s\"<>|(){}"


def _as_capitals(words: str) -> str:
    return f"(?:{words}|{words.upper()})"


_WORD_RULES = (
    rf"((?i:cannot|gonna|gotta|lemme|gimme|wanna)){_NO_LETTER}",
    rf"({_WORD})",
    rf"({_WORD}){_APOSTROPHE}(?i:s|d|m|ll|re|ve)(?![A-Za-z])",
    rf"({_LETTERS}?)(?i:n{_ANY_APOSTROPHE}t)",
    # "n't" itself, and words with an apostrophe inside or at an end.
    rf"((?i:n{_ANY_APOSTROPHE}t))",
    rf"((?i:[dlj]|ol|dunkin|somethin){_APOSTROPHE})",
    rf"((?i:y){_APOSTROPHE}){_ALPHA}",
    rf"((?i:e{_APOSTROPHE}er|c{_APOSTROPHE}(?:mon|est)|li{_APOSTROPHE}l"
    rf"|nat{_APOSTROPHE}l|s{_APOSTROPHE}mores))",
    rf"([A-HJ-XZdlno]{_APOSTROPHE}{_LETTERS}{_LETTERS})",
    rf"({_LETTERS}?[aeiouyAEIOUY]{_APOSTROPHE}[aeiouA-Z](?:[{_L}])*)",
    # Abbreviations, initials, names with signs.
    rf"((?i:{_ABBREVIATIONS})\.){_NO_LETTER}",
    rf"({_as_capitals(_CAPITAL_ABBREVIATIONS)}\.){_NO_LETTER}",
    rf"((?i:{_ABBREVIATIONS_OF_NUMBERS})\.){_BLANK}?{_DIGIT}",
    rf"({_INITIALS}){_NO_LETTER}",
    rf"([A-Za-z])\.\s+{_as_capitals(_FIRST_WORDS)}(?:\s|$)",
    rf"({_WORD}\.)(?=[,;:])",
    r"([A-Z]+(?:(?:&amp;|&)[A-Z]+)+(?:\.(?=[,;:]))?)",
    r"([CcFf]#|[Cc]\+\+)",
    r"([A-Z]*\$)",
    # Joined by hyphens, underscores and slashes.
    rf"((?:{_PART}|[A-Za-z0-9]+(?:[.,][A-Za-z0-9]+)+)\.?"
    rf"(?:-(?:[A-Za-z](?:\.[A-Za-z])+\.{_NO_LETTER}|{_PART}))+(?:\.(?=[,;:]))?)",
    rf"({_PART}(?:[-_]{_PART})+)",
    rf"({_ASCII_PART}(?:/{_ASCII_PART}){{1,2}})",
    # Numbers, addresses.
    rf"({_NUMBER})",
    rf"((?:{_DIGIT}{{1,4}}[- \u00a0])?{_DIGIT}{{1,4}}{_SLASH}{_DIGIT}{{1,4}})",
    rf"({_PHONE})",
    rf"((?i:https?)://[^{_NO_URL}]+{_END_OF_URL})",
    rf"((?i:www)\.(?:[^\s\"<>|.!?(){{}},]+\.)+[A-Za-z]{{2,4}}{_PATH})",
    rf"((?:[^\s\"`'<>|.!?(){{}},\-_$/:]+\.)+(?i:com|net|org|edu){_PATH})",
    rf"([A-Za-z0-9][^{_NO_ADDRESS}]*@(?:[^{_NO_ADDRESS}.]+\.)*[^{_NO_ADDRESS}.]+>?)",
)
"""Rules of tokens that begin with a letter or a digit.

The first group is the token; what must follow it counts in its length.
"""
_OTHER_RULES = (
    rf"((?i:n{_ANY_APOSTROPHE}t))",
    rf"({_APOSTROPHE}(?i:s|d|m|ll|re|ve))(?![A-Za-z])",
    rf"({_APOSTROPHE}(?i:n{_APOSTROPHE}|em|till?|cause))",
    rf"({_APOSTROPHE}(?i:n))(?!\S)",
    rf"({_APOSTROPHE}(?i:t))(?i:is|was)",
    rf"({_APOSTROPHE}[2-9]0(?i:s))",
    rf"({_APOSTROPHE}{_DIGIT}{{2}})(?!\S)",
    r"(-{2,}|[.]{3,}|'{2}|\u2019{2}|`{2})",
    rf"([-+]?{_NUMBER})",
    rf"({_PHONE})",
    r"([A-Z]*\$)",
    rf"(</?{_NAME}(?:\s+{_NAME}(?:\s*=\s*(?:\"[^\"]*\"|'[^']*'))?)*\s*/?>)",
    r"(<[!?][A-Za-z-][^>]*>)",
    rf"(<[A-Za-z0-9][^{_NO_ADDRESS}]*@(?:[^{_NO_ADDRESS}.]+\.)*[^{_NO_ADDRESS}.]+>?)",
    r"(@[A-Za-z_][A-Za-z0-9_]*)",
    rf"(#(?:{_ALPHA})+)",
    r"([<>]?[:;=][-*']?[()DdPpO|\\{@\[\]])(?![A-Za-z0-9])",
    r"([-^~<>='x]_[-^~<>='x])",
    r"(\([-^~<>='x][-_.]?[-^~<>='x]\))",
    r"([*]+|_+|[!?]+|@+|#+|<<|>>)",
    "([\u207a\u207b\u208a\u208b]?(?:[\u00b2\u00b3\u00b9\u2070\u2074-\u2079]+|[\u2080-\u2089]+))",
    "([\u201a\u201e\u201f]+)",
    r"(&(?i:amp|lt|gt);)",
    r"(&(?:HT|TL|UR|LR|QC|QL|QR|odq|cdq|#[0-9]+);)",
    r"(&(?:MD|mdash|ndash|nbsp|quot|apos);)",
    r"(&(?i:quot);)",
    rf"([-#%&=+\\/^|~@<>(){{}}\[\]$\u00a2\u00a3\u00a4\u20a0\u20ac\u0080\u00bc-\u00be\u2044\u2153\u2154{character_class(SYMBOLS)}])",
)
"""Rules of tokens that begin with anything else."""
_WORD_PATTERNS = tuple(map(re.compile, _WORD_RULES))
_OTHER_PATTERNS = tuple(map(re.compile, _OTHER_RULES))
_ALONE = re.compile(
    r"(?:[A-Za-z'\u2019,;:!?\"-]*[A-Za-z]{3}\."
    r"(?<!art\.)(?<!fig\.)(?<!nos\.)(?<!figs\.)(?<!prop\.)"
    r"|[A-Za-z'\u2019,;:!?\"-]+)(?!\S)",
    re.IGNORECASE,
)
"""Characters between blanks, in which no token depends on what is beyond the blanks."""
_BEGINS_WORD = re.compile(f"[{_L}]|{_ACCENTED}")

_PARTS = {
    "cannot": ("can", "not"),
    "gonna": ("gon", "na"),
    "gotta": ("got", "ta"),
    "lemme": ("lem", "me"),
    "gimme": ("gim", "me"),
    "wanna": ("wan", "na"),
}
_SPELLINGS = {
    "(": "-lrb-",
    ")": "-rrb-",
    "[": "-lsb-",
    "]": "-rsb-",
    "{": "-lcb-",
    "}": "-rcb-",
    "\u00a2": "cents",
    "\u00a3": "#",
    "\u0080": "$",
    "\u00a4": "$",
    "\u20a0": "$",
    "\u20ac": "$",
    "\u00bc": "1/4",
    "\u00bd": "1/2",
    "\u00be": "3/4",
    "\u2153": "1/3",
    "\u2154": "2/3",
    "&amp;": "&",
    "&lt;": "<",
    "&gt;": ">",
}
_LEFT_OUT = (
    PUNCTUATION
    | {"", "\u2019\u2019"}
    | set(
        "&MD; &mdash; &ndash; &nbsp; &quot; &apos;".split()  # noqa: SIM905
    )
)
"""What becomes a blank or punctuation."""


def tokenize(text: str) -> list[str]:
    """Return the tokens of a caption, lower-cased and without punctuation.

    Blanks inside a token, as in "1 1/2", are U+00A0, at which `str.split` splits. A
    line break is a blank.
    """
    found: list[str] = []
    position = 0
    while position < len(text):
        alone = None
        if not position or text[position - 1] == " ":
            alone = _ALONE.match(text, position)
        if alone:
            found += _tokens_alone(alone[0])
            position = alone.end() + 1
        else:
            tokens, position = _next(text, position)
            found += tokens
    return found


@lru_cache(maxsize=1 << 16)
def _tokens_alone(text: str) -> tuple[str, ...]:
    found: tuple[str, ...] = ()
    position = 0
    while position < len(text):
        tokens, position = _next(text, position)
        found += tokens
    return found


def _next(text: str, position: int) -> tuple[tuple[str, ...], int]:
    """Return the tokens at a position, () for none, and where the next may begin."""
    is_word = _BEGINS_WORD.match(text, position)
    longest, end = -1, position + 1
    token, chosen = "", None
    for pattern in _WORD_PATTERNS if is_word else _OTHER_PATTERNS:
        match = pattern.match(text, position)
        if match and match[1] and match.end() > longest:
            longest, end, token, chosen = match.end(), match.end(1), match[1], pattern
    if chosen is _WORD_PATTERNS[0]:
        return _PARTS[token.lower()], end
    return _spell(token), end


def _spell(token: str) -> tuple[str, ...]:
    """Return the tokens that a token becomes, none for punctuation."""
    lowered = token.lower()
    if lowered in _SPELLINGS:
        return (_SPELLINGS[lowered],)
    lowered = re.sub("&apos;|[\u0092\u2019](?=s$|d$|m$|ll$|re$|ve$|t$)", "'", lowered)
    lowered = lowered.replace("\u00ad", "").replace("&amp;", "&")
    lowered = re.sub("n[\u0091\u2018\u201b]t$", "n`t", lowered)
    lowered = lowered.replace("(", "-lrb-").replace(")", "-rrb-")
    lowered = re.sub(r"\s", "\u00a0", lowered)
    if not lowered.strip("-.") or token in _LEFT_OUT or lowered in PUNCTUATION:
        return ()
    return (lowered,)
