# ruff: noqa: E501, RUF001, SIM905
"""Drawn captions of all sorts, with references and with objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from keras_pg2.metrics.metric import Answer, Truth
from tests.support.metric_cases import Draw

THINGS = (
    "man woman dog cat horse train bus street sign table pizza skateboard umbrella bench"
    " kite surfboard giraffe elephant clock laptop bed sink refrigerator book bear sheep"
    " boat airplane truck bicycle car people children kids bat player tennis racket ball"
    " snow waves mountain grass kitchen living-room t-shirt hot-dog mother-in-law"
).split()
LOOKS = (
    "red blue green white black-and-white young small large wooden brown half-eaten"
    " well-dressed five-year-old 3-tiered two full colourful blurry double-decker stop"
).split()
DOING = (
    "is standing|is sitting|are playing|isn't holding|can't see|cannot reach"
    "|looks like it's eating|doesn't have|won't stop near|that's parked by|gonna throw"
    "|wanna catch|who's wearing|they're flying|he'll jump over|she'd like|aren't watching"
).split("|")
WHERE = "on|in|next to|on top of|behind|in front of|w/|at the corner of|by|of".split(
    "|"
)
ENDS = ("", ".", " .", ".", "!", "...", '."', "!!", ",")
ODD = r"""
Mr. Smith | Dr. Who | St. Mary's | 5th Ave. | Main St. | U.S. | U.S.A. | the U.K. |
New York, N.Y. | Washington, D.C. | Jan. 5 | Dec. 25th | J. F. Kennedy | John Q.
Public | Inc. | Ltd. | etc. | e.g. a hat | i.e., one | vs. | Ph.D. | a.k.a. Bob | AT&T
| B&W | R&B | M&M's | H&M | Q&A | rock 'n' roll | rock'n'roll | O'Brien | McDonald's |
Dunkin' Donuts | Levi's | Ben & Jerry's | Toys'R'Us | 7-Eleven | 7-Up | Coca-Cola |
Wi-Fi | iPhone 5 | www.example.com | http://t.co/abc123 |
https://www.flickr.com/photos/1234 | flickr.com | foo@bar.com | @user | #nofilter | #1
| C++ | F-16 | B-52 | Boeing 747-400 | A380 | 3D | 4x4 | 2x4 | 4WD | MP3 | STOP |
STOP! | "ONE WAY" | 'No Parking' | “Open” | ‘Closed’ | (left) | [blurry] | {x} | <unk>
| <b>bold</b> | &amp; | &quot;x&quot; | :) | :-) | ;) | :D | <3 | ... | … | -- | — | –
| - | !! | ?! | ??? | * | ** | _ | ___ | / | \ | ~ | + | = | ^ | % | @ | $ | & | ™ | ®
| © | ° | 20°C | 5'10" | 6 ft. 2 in. | 10 ft. | 5 lbs. | 3 in. | 50 mph. | and/or |
his/her | he/she | black/white | 24/7 | 9/11 | km/h | 1920s-style | 'em | 'til |
'cause | y'all | ma'am | o'clock | c'mon | d'oeuvres | hors d'oeuvre | l'eau | kids' |
James' | James's | boys' room | dogs' | 's | café | naïve | jalapeño | crème brûlée |
Zürich | São Paulo | piñata | résumé | 😀 | 👍🏽 | ❤️ | ☺ | ★★★ | → | 你好 | 日本語 | 東京タワー |
한국어 | русский текст | Ελλάδα | עברית | العربية | हिन्दी | ไทย | eine Straße in München
| un homme à vélo | l’homme d’affaires | it’s | don’t | the dog’s | ’90s | can’t |
rock ’n’ roll | 555-1234 | (555) 123-4567 | 1-800-555-1234 | 192.168.0.1 | v1.2.3 |
A.B.C. | a.b.c | p.m. | a.m. | P.S. | R.I.P. | T.V. | TV's | 1980's | 80's | DVD's |
CD-ROM | e-mail | x-axis | A-frame | half- | -ish | pre- | ...and | end.Next | one,two
| a;b | a:b | 3:1 | 16:9 | #hash_tag | @a_b | a_b | img_01.jpg | photo.jpg | file.txt
| node.js | index.html | C# | G7 | 1st | 22nd | 3rd | XIV | IV. | II | A | a. | B. | I
| I'm | I've | I'd | o | x | gimme | lemme | gotta | dunno | 'tis | 'twas | more'n |
whatcha | ain't | shouldn't've | y'know | goin' | fishin' | ol' | S'mores | po'boy |
Hallowe'en | M.D. | B.A. | M.Sc. | Sgt. Pepper | Gen. Lee | Gov. Brown | Sen. X | Rep.
Y | Prof. Z | Capt. Hook | Lt. Dan | Mt. Everest | Ft. Worth | Ste. 5 | Blvd. | Rd. |
Fig. 3 | fig. 3 | pp. 5-6 | art. 5 | co. | corp. | no. 5 | no. | est. 1920 | Est. 1920
| tel. 555 | ext. 5 | $5 US | US$5 | C$10 | 5 cents | 5¢ | ¥500 | ₹500 | 50-50 |
10-20% | $10-$20 | 1-2 | 2-0 | 0-0 | 1. | 2) | (a) | a) | +5 | -5 | ±5 | 5+5 | 5x5 |
5×7 | 8 x 10 | 8" x 10" | 5' | 1080p | f/2.8 | f2.8 | ISO 400 | 1/250s | 50mm | 10km |
5kg | 100° | −5°C | ½ cup | ¾ | 10² | H2O | CO₂ | m²
""".replace("\n", " ").split(" | ")
"""What tokenizers disagree on."""


def pick(random: np.random.Generator, values: Sequence[str]) -> str:
    """Return one of the values."""
    return values[int(random.integers(len(values)))]


def number(random: np.random.Generator) -> str:
    """Return a number, a price, a time, a date or the like."""
    n, hour = int(random.integers(1, 2000)), int(random.integers(1, 13))
    minute = int(random.integers(60))
    formats = (
        *(f"{n}", f"{n:,}", f"{n}.{minute}", f"{n}%", f"${n:,}.{minute:02}", f"£{n}"),
        *(f"{hour}:{minute:02}", f"{hour}:{minute:02}pm", f"{hour}:{minute:02} a.m."),
        *(f"{hour}/{minute}/2015", f"{hour} 1/2", f"#{n}", f"{n}th", f"{1900 + hour}s"),
        *(f"'{hour % 8 + 1}0s", f"{hour}-{minute}", f"No. {n}", f"€{n}", f"½ {n}"),
    )
    return pick(random, formats)


def phrase(random: np.random.Generator) -> list[str]:
    """Return words for a thing."""
    looks = [pick(random, LOOKS) for _ in range(int(random.integers(3)))]
    ending = pick(random, ("", "", "", "'s", "s", "s'", ",", "’s"))
    article = pick(random, ("a", "the", "an", "two", "A", "The", "his"))
    return [article, *looks, pick(random, THINGS) + ending]


def caption(random: np.random.Generator, oddness: float = 0.5) -> str:
    """Return a caption; `oddness` is how probable a further odd word is."""
    parts = [*phrase(random), pick(random, DOING), *phrase(random)]
    while random.random() < 0.5:
        parts += [pick(random, WHERE), *phrase(random)]
    while random.random() < oddness:
        odd = pick(random, ODD) if random.random() < 0.75 else number(random)
        form = "{} {} {} {} {} {} \"{}\" ({}) {}, {}. '{}' {}'s {}-bus"
        odd = pick(random, form.split()).format(odd)
        parts.insert(int(random.integers(len(parts) + 1)), odd)
    text = " ".join(parts)
    case = (str, str, str, str, str, str.capitalize, str.upper, str.title)
    text = case[int(random.integers(len(case)))](text)
    return (text + pick(random, ENDS)).strip()


def changed(random: np.random.Generator, text: str) -> str:
    """Return a text with a few words repeated, exchanged or cut off; rarely none."""
    words = text.split(" ")
    for _ in range(int(random.integers(6))):
        words[int(random.integers(len(words)))] = pick(random, words)
    if random.random() < 0.3:
        words = words[: int(random.integers(len(words) + 1))]
    return " ".join(words)


def captions(random: np.random.Generator) -> tuple[Answer, Truth]:
    """Return a caption and one to five references."""
    text = caption(random, 0.3)
    references = [changed(random, text) for _ in range(int(random.integers(1, 6)))]
    kind = pick(random, ("", "in-domain", "near-domain"))
    return Answer(changed(random, text)), Truth(answers=tuple(references), kind=kind)


def objects(random: np.random.Generator) -> tuple[Answer, Truth]:
    """Return a caption, what is in its picture, and what there can be."""
    words: Mapping[str, Sequence[str]] = {
        "person": ("man", "woman", "child", "people"),
        "teddy bear": (),
        "bear": (),
        "knife": (),
        "fire hydrant": ("hydrant",),
    }
    names = list(words)
    said = [f"two {pick(random, names)}s" for _ in range(int(random.integers(4)))]
    there = {pick(random, names) for _ in range(int(random.integers(1, 4)))}
    details = {"objects": sorted(there), "all_objects": words}
    return Answer(", ".join(said)), Truth(details=details)


CASES: Mapping[str, Draw] = {
    **dict.fromkeys(("cider", "bleu", "rouge_l", "meteor", "spice"), captions),
    "chair": objects,
}
