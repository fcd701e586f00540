from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from keras_pg2 import CheckedCaption, Decision, PaliGemma2CausalLM, Question
from keras_pg2.datasets import scenes
from keras_pg2.tasks.deciding.captions import CheckedThing
from keras_pg2.tasks.deciding.named_things import (
    find_things,
    find_words,
    singular,
    with_article,
)
from tests.support.tiny_models import random_task

CAPTIONS = {
    "A man in a red shirt is riding a brown horse on the beach.": [
        *("man", "red shirt", "brown horse", "beach"),
    ],
    "Two dogs playing with a frisbee in the park": ["dog", "frisbee", "park"],
    "a red and white bus parked on the side of the road": ["white bus", "road"],
    "a group of people standing around a table with plates of food": [
        *("person", "table", "plate", "food"),
    ],
    "A close-up of a cat's face next to a laptop computer.": [
        *("cat", "face", "laptop computer"),
    ],
    "a woman wearing sunglasses sits on a bench reading a newspaper": [
        *("woman", "sunglasses", "bench", "newspaper"),
    ],
    "people walking down a city street holding umbrellas": [
        *("person", "city street", "umbrella"),
    ],
    "a parked car, a running dog and three stuffed animals sitting on a bed": [
        *("parked car", "running dog", "stuffed animal", "bed"),
    ],
    "a small red circle at the top left. the text is AB1.": [
        *("small red circle", "text"),
    ],
    "": [],
    "42!": [],
}


@pytest.mark.parametrize("caption", CAPTIONS)
def test_things_of_captions(caption):
    found = find_things(caption)
    assert [thing.name for thing in found] == CAPTIONS[caption]
    for thing in found:
        words = caption[thing.start : thing.end].lower().split()
        assert [*words[:-1], singular(words[-1])] == thing.name.split()


def test_captions_of_scenes_name_all_their_objects():
    for index in range(100):
        scene = scenes.sample_scene(scenes.scene_generator(3, index))
        found = find_things(scenes.caption(scene))
        assert [thing.name for thing in found] == [item.name for item in scene.objects]


def test_given_things_are_found_as_words():
    text = "Two hot dogs, a dog and some cherries beside the Dogma box"
    found = find_words(text, ["dog", "hot dog", "cherry", "box", "cat"])
    assert [thing.name for thing in found] == ["hot dog", "dog", "cherry", "box"]
    assert [text[thing.start : thing.end] for thing in found] == [
        *("hot dogs", "dog", "cherries", "box"),
    ]


def test_articles():
    for name, expected in {
        "red bus": "a red bus",
        "orange star": "an orange star",
        "green grass": "green grass",
        "scissors": "scissors",
    }.items():
        assert with_article(name) == expected


def thing(name: str, start: int, end: int, probability: float) -> CheckedThing:
    shares = {True: probability, False: 1 - probability}
    decision = Decision(Question(f"is there {name}?"), probability > 0.5, shares, {})
    return CheckedThing(name, start, end, decision)


def test_colours_in_a_notebook_and_in_a_terminal():
    checked = CheckedCaption(
        "a <b> & a \x1bcat", (thing("<b>", 2, 5, 0.9), thing("cat", 11, 14, 0.2))
    )
    html = checked._repr_html_()
    assert "<b>" not in html
    assert "a <span" in html
    assert 'title="&lt;b&gt;: 0.900">&lt;b&gt;</span> &amp; a ' in html
    assert 'hsl(108,80%,85%);color:#111" title="&lt;b&gt;' in html
    assert 'hsl(24,80%,85%);color:#111" title="cat: 0.200">cat</span>' in html
    file = io.StringIO()
    Console(file=file, force_terminal=True, color_system="standard").print(checked)
    assert "\x1b[32m<b>\x1b[0m" in file.getvalue()
    assert "\x1b[1;31mcat\x1b[0m" in file.getvalue()
    assert "\\x1b" in file.getvalue()
    assert (checked.probability, len(checked.doubtful())) == (0.2, 1)
    assert CheckedCaption("", ()).probability == 1.0
    assert checked.to_dict()["things"][1] == {
        "name": "cat",
        "start": 11,
        "end": 14,
        "probability": 0.2,
    }


@pytest.fixture(scope="module")
def task() -> PaliGemma2CausalLM:
    return random_task()


def test_things_are_asked_for_one_by_one(task):
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    checked = task.check_caption(picture, "a small dog and a ball, a dog")
    assert [thing.name for thing in checked.things] == ["small dog", "ball", "dog"]
    asked = ["is there a small dog?", "is there a ball?", "is there a dog?"]
    for thing, decided in zip(checked.things, task.decide(picture, asked), strict=True):
        assert thing.probability == pytest.approx(decided.probabilities[True], abs=1e-5)
    checked = task.check_caption(
        picture, "a small dog", objects=["dog"], question="do you see {thing}?"
    )
    [decided] = task.decide(picture, ["do you see a dog?"])
    assert checked.probability == pytest.approx(decided.probabilities[True], abs=1e-5)
    # Its own caption is nonsense of a random network, and names nothing known.
    own = task.check_caption(picture, objects=["giraffe"])
    inputs = {"images": picture, "prompts": "caption en"}
    assert own == CheckedCaption(task.generate(inputs, strip_prompt=True), ())
    with pytest.raises(ValueError, match=r"{thing}"):
        task.check_caption(picture, "a dog", question="is it there?")
    with pytest.raises(ValueError, match=r"of one picture\. Received: 2"):
        task.check_caption([picture, picture], "a dog")
    with pytest.raises(ValueError, match="an empty text"):
        task.check_caption(picture, "a dog", objects=["dog", " "])
    with pytest.raises(TypeError, match="list of names"):
        task.check_caption(picture, "a dog", objects="dog")
