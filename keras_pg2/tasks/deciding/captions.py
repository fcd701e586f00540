"""A caption whose things were asked for one by one."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from keras_pg2.checks.texts import LINES_AND_JOINERS, printable
from keras_pg2.tasks.deciding.decisions import Decision

if TYPE_CHECKING:
    from rich.text import Text

LIKELY, RATHER = 0.75, 0.5
"""Probabilities from which a thing is shown as there, and as rather there."""


@dataclass(frozen=True)
class CheckedThing:
    """A thing that a caption names, and whether it is there.

    Attributes:
        name: What was asked for, such as "red bus".
        start: Index of its first character in the caption.
        end: Index after its last one.
        decision: The answer to the question for it.
    """

    name: str
    start: int
    end: int
    decision: Decision

    @property
    def probability(self) -> float:
        """Probability that it is in the picture, in [0, 1]."""
        return self.decision.probabilities[True]


@dataclass(frozen=True)
class CheckedCaption:
    """A caption with the probability of each thing in it.

    A notebook shows it in colours, and so does `rich.print`: green for what is there,
    yellow for what is rather there, red for what is rather not.

    Attributes:
        caption: The text.
        things: What it names, in the order of the text.
    """

    caption: str
    things: tuple[CheckedThing, ...]

    @property
    def probability(self) -> float:
        """Of the least probable thing, in [0, 1]; 1 where nothing is named."""
        return min((thing.probability for thing in self.things), default=1.0)

    def doubtful(self, below: float = RATHER) -> tuple[CheckedThing, ...]:
        """Return the things whose probability is below a number."""
        return tuple(thing for thing in self.things if thing.probability < below)

    def to_dict(self) -> dict[str, Any]:
        """Return the caption and its things as JSON has them."""
        things = [
            {
                "name": thing.name,
                "start": thing.start,
                "end": thing.end,
                "probability": round(thing.probability, 4),
            }
            for thing in self.things
        ]
        return {"text": self.caption, "things": things}

    def __rich__(self) -> Text:
        """Return the caption in colours, for a terminal."""
        from rich.text import Text

        text, end = Text(), 0
        for thing in self.things:
            text.append(printable(self.caption[end : thing.start], LINES_AND_JOINERS))
            own = printable(self.caption[thing.start : thing.end], LINES_AND_JOINERS)
            text.append(own, _style(thing.probability))
            end = thing.end
        return text.append(printable(self.caption[end:], LINES_AND_JOINERS))

    def _repr_html_(self) -> str:
        """Return the caption in colours, for a notebook."""
        parts, end = [], 0
        for thing in self.things:
            share = min(max(thing.probability, 0.0), 1.0)
            own = escape(self.caption[thing.start : thing.end])
            parts += [
                escape(self.caption[end : thing.start]),
                f'<span style="background:hsl({round(120 * share)},80%,85%);'
                f'color:#111" title="{escape(thing.name)}: {share:.3f}">{own}</span>',
            ]
            end = thing.end
        return f"<span>{''.join(parts)}{escape(self.caption[end:])}</span>"


def _style(probability: float) -> str:
    if probability >= LIKELY:
        return "green"
    return "yellow" if probability >= RATHER else "bold red"
