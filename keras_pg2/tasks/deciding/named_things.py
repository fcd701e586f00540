"""The things that an English caption names, found by lists of words.

No tagger and no parser: a phrase is a run of words between those that belong to no name
of a thing (articles, prepositions, verbs of captions), cut at forms of verbs. What
fits captions ("a man in a red shirt is riding a horse") need not fit poems. Where the
things are known, as they are for a data set with classes, `find_words` takes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_WORD = re.compile(r"[^\W_]+(?:-[^\W_]+)*")
_BETWEEN = re.compile(r"\s*")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_STARTS = _words("""
    a an the this that these those some several many few another other each every both
    all no its his her their my your our one two three four five six seven eight nine
    ten eleven twelve
""")
"""Words before a phrase that are no part of the name."""
_OTHERS = _words("""
    about above across after against along among and around as at away before behind
    below beneath beside besides between beyond but by close down during for from he
    here him how i if in inside into it just like me near nearby next not of off on
    only onto or out outside over past s she so t than them then there they through to
    together too toward towards under underneath until up upon us very we what when
    where which while who with within without you also still
    is are was were be been being am has have had do does did can could will would may
    might must should
    sit sits sat stand stands stood lie lies lay run runs ran walk walks ride rides
    rode hold holds held play plays eat eats ate look looks wear wears wore carry
    carries fly flies flew jump jumps swim swims swam hang hangs hung lean leans read
    reads show shows shown make makes made take takes taken go goes come comes get gets
    seen see sees contain contains feature features appear appears cut built
""")
"""What stands between phrases; verbs in -ing and -ed are known by their form."""
_NO_THINGS = _words("""
    left right top bottom center centre middle front back side sides background
    foreground corner edge distance end part area way image picture photo photograph
    photography drawing scene view close-up closeup shot group groups pair pairs couple
    lot lots bunch row rows line piece pieces slice kind type sort set number variety
    day time today night morning evening color colour black-and-white something someone
""")
"""Places in a picture, pictures themselves, and words that count or sort."""
_ADJECTIVES = _words("""
    red green blue yellow purple orange pink brown black white gray grey silver gold
    golden dark light bright colorful small large big little tall short long tiny huge
    young old new adult male female wooden upper lower
""")
"""Words that alone name no thing, as "red" of a "red and white bus"."""
_NO_VERBS = _words("""
    bed building ceiling clothing crossing earring king painting railing ring sled shed
    seed spring string thing weed wing writing
""")
_SINGULAR = {
    "people": "person",
    "men": "man",
    "women": "woman",
    "children": "child",
    "feet": "foot",
    "teeth": "tooth",
    "mice": "mouse",
    "geese": "goose",
    "knives": "knife",
    "shelves": "shelf",
    "leaves": "leaf",
    "loaves": "loaf",
    "wolves": "wolf",
    "scarves": "scarf",
    "buses": "bus",
    "skis": "ski",
    "movies": "movie",
    "cookies": "cookie",
}
_NO_PLURALS = _words("""
    bus gas lens canvas compass series species glasses sunglasses scissors pants
    jeans shorts trousers goggles binoculars stairs clothes headphones
""")
_WITHOUT_ARTICLE = _words("""
    water grass snow sand food ice traffic furniture clothing luggage broccoli bread
    rice meat cheese fruit smoke fog rain dirt mud hair fire text writing graffiti
    jewelry pasta salad coffee tea milk wine beer juice equipment glasses sunglasses
    scissors pants jeans shorts trousers goggles binoculars stairs clothes headphones
""")


class NamedThing(NamedTuple):
    """A thing that a text names.

    Attributes:
        name: In the singular, as it is asked for, such as "red bus".
        start: Index of its first character in the text.
        end: Index after its last one.
    """

    name: str
    start: int
    end: int


def find_things(text: str) -> list[NamedThing]:
    """Return the things that an English text names, in their order."""
    found = []
    for phrase in filter(None, _phrases(text)):
        words = [text[start:end].lower() for start, end in phrase]
        head = words[-1]
        is_named = head not in _NO_THINGS and not set(words) <= _ADJECTIVES
        if is_named and len(head) > 1:
            name = " ".join([*words[:-1], singular(head)])
            found.append(NamedThing(name, phrase[0][0], phrase[-1][1]))
    return found


def find_words(text: str, names: Iterable[str]) -> list[NamedThing]:
    """Return where a text names given things, also in the plural, in their order.

    Longer names go first: a "hot dog" is no "dog".
    """
    found: list[NamedThing] = []
    for name in sorted(names, key=len, reverse=True):
        *before, head = name.split()
        heads = "|".join(map(re.escape, dict.fromkeys([head, *_plurals(head)])))
        words = r"\s+".join([*map(re.escape, before), f"(?:{heads})"])
        for match in re.finditer(rf"(?<!\w){words}(?!\w)", text, re.IGNORECASE):
            start, end = match.span()
            if all(end <= other.start or start >= other.end for other in found):
                found.append(NamedThing(name, start, end))
    return sorted(found, key=lambda thing: thing.start)


def with_article(name: str) -> str:
    """Return a name as it is asked for: "a bus", "an orange", "grass", "scissors"."""
    head = name.split()[-1].lower()
    if head in _WITHOUT_ARTICLE:
        return name
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def singular(noun: str) -> str:
    """Return the singular of an English noun in small letters."""
    if noun in _SINGULAR:
        return _SINGULAR[noun]
    is_plural = noun.endswith("s") and not noun.endswith(("ss", "us", "is"))
    if not is_plural or len(noun) < 4 or noun in _NO_PLURALS:
        return noun
    if noun.endswith("ies") and len(noun) > 4:
        return noun[:-3] + "y"
    if noun.endswith(("ches", "shes", "sses", "xes", "zzes", "toes")):
        return noun[:-2]
    return noun[:-1]


def _plurals(noun: str) -> list[str]:
    known = [plural for plural, one in _SINGULAR.items() if one == noun.lower()]
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        known.append(noun[:-1] + "ies")
    return [*known, noun + "s", noun + "es"]


def _phrases(text: str) -> Iterator[list[tuple[int, int]]]:
    """Yield the words of each phrase as their places in the text."""
    phrase: list[tuple[int, int]] = []
    is_started = False  # By an article or the like: "a parked car".
    last_end = 0
    for match in _WORD.finditer(text):
        word, place = match.group().lower(), match.span()
        if not _BETWEEN.fullmatch(text[last_end : place[0]]) and phrase:
            yield phrase
            phrase, is_started = [], False
        last_end = place[1]
        is_verb = _is_form_of_verb(word) and (bool(phrase) or not is_started)
        has_digit = any(character.isdigit() for character in word)
        if word in _STARTS | _OTHERS or is_verb or has_digit:
            yield phrase
            phrase, is_started = [], word in _STARTS
        else:
            phrase.append(place)
    yield phrase


def _is_form_of_verb(word: str) -> bool:
    return len(word) > 4 and word.endswith(("ing", "ed")) and word not in _NO_VERBS
