"""What generate gives on request: scores, streams, choices, beams; and its speed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
from keras import ops

from keras_pg2 import BeamSearch, Choices, PaliGemma2CausalLM, Sampler
from keras_pg2.generation import compilation
from keras_pg2.generation.recording import recording
from tests.support.one_program import apply
from tests.support.tiny_models import random_task
from tests.support.tiny_networks import random_inputs

OPTIONS = {"max_new_tokens": 12, "stop_token_ids": None}
PROMPTS = ["ocr", "answer en what is the colour of the ball?", "detect cat ; dog"]


@pytest.fixture(scope="module")
def task() -> PaliGemma2CausalLM:
    return random_task()


@pytest.fixture(scope="module")
def raw(task) -> PaliGemma2CausalLM:
    """The same network without a preprocessor: it takes and returns arrays."""
    return PaliGemma2CausalLM(task.backbone)


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 40, 60, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def greedy(task):
    """No test leaves another sampler behind."""
    yield
    task.compile()


@pytest.mark.parametrize(
    "sampler",
    [
        Sampler(temperature=3.0, top_k=20, repetition_penalty=1.5, seed=1),
        pytest.param(
            Sampler(), marks=pytest.mark.two_backends("a part of the other sampler")
        ),
    ],
)
def test_scores_are_those_of_the_network_alone(task, pictures, sampler):
    task.compile(sampler=sampler)
    inputs = {"images": pictures, "prompts": PROMPTS}
    texts = task.generate(inputs, strip_prompt=True, **OPTIONS)
    scored = task.generate(inputs, strip_prompt=True, return_scores=True, **OPTIONS)
    assert [answer.text for answer in scored] == texts
    arrays = task.preprocessor.generate_preprocess(inputs)
    for row, answer in enumerate(scored):
        length = int(arrays["padding_mask"][row].sum())
        prompt = arrays["token_ids"][row, :length]
        token_ids = np.concatenate([prompt, answer.token_ids])[None]
        logits = ops.convert_to_numpy(
            task(
                {
                    "images": arrays["images"][row : row + 1],
                    "token_ids": token_ids,
                    "padding_mask": np.ones_like(token_ids, bool),
                    "response_mask": np.arange(token_ids.size)[None] >= length,
                }
            )
        )[0, length - 1 : -1].astype("float64")
        expected = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        expected = np.take_along_axis(expected, answer.token_ids[:, None], axis=1)
        own = answer.token_log_probabilities
        np.testing.assert_allclose(own, expected[:, 0], atol=1e-4)
        assert answer.log_probability == pytest.approx(expected.sum(), abs=1e-3)
        assert answer.probability == pytest.approx(np.exp(expected.sum()), rel=1e-2)


def test_streamed_pieces_are_the_text(task, pictures):
    inputs = {"images": pictures, "prompts": PROMPTS}
    texts = task.generate(inputs, strip_prompt=True, **OPTIONS)
    steps = list(task.stream(inputs, **OPTIONS))
    assert len(steps) == 12
    assert ["".join(row) for row in zip(*steps, strict=True)] == texts
    one = {"images": pictures[1], "prompts": PROMPTS[1]}
    assert "".join(task.stream(one, **OPTIONS)) == texts[1]


@pytest.mark.two_backends("the steps of generate")
def test_a_stream_draws_the_tokens_of_generate(task, pictures):
    task.compile(sampler=Sampler(temperature=2.0, seed=5))
    inputs = {"images": pictures[0], "prompts": "ocr"}
    text = task.generate(inputs, strip_prompt=True, **OPTIONS)
    assert "".join(task.stream(inputs, **OPTIONS)) == text


@pytest.mark.two_backends("the harness seeds answers on all")
def test_keras_seed_makes_calls_without_a_seed_repeatable(task, pictures):
    inputs = {"images": pictures, "prompts": PROMPTS}
    task.compile(sampler=Sampler(temperature=3.0))
    runs = []
    for seed in (1, 1, 2):
        # The first run traces and compiles, the others do not.
        keras.utils.set_random_seed(seed)
        runs.append([task.generate(inputs, **OPTIONS) for _ in range(2)])
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    assert runs[0][0] != runs[0][1]
    # A seed of one's own and what draws nothing leave Keras' generators alone.
    keras.utils.set_random_seed(1)
    task.generate(inputs, seed=4, **OPTIONS)
    for sampler in ("greedy", "beam"):
        task.compile(sampler=sampler)
        task.generate(inputs, **OPTIONS)
    task.compile(sampler=Sampler(temperature=3.0))
    assert task.generate(inputs, **OPTIONS) == runs[0][0]


@pytest.mark.two_backends("which rows go on is of NumPy")
def test_a_stream_ends_with_its_rows(raw, task, pictures):
    inputs = {"images": pictures, "prompts": PROMPTS}
    arrays = task.preprocessor.generate_preprocess(inputs)
    free = raw.generate(arrays, strip_prompt=True, **OPTIONS)
    stop = [int(tokens[2]) for tokens in free["token_ids"]]
    options = {"max_new_tokens": 12, "stop_token_ids": stop}
    steps = list(task.stream(inputs, **options))
    assert len(steps) <= 3
    texts = task.generate(inputs, strip_prompt=True, **options)
    assert ["".join(row) for row in zip(*steps, strict=True)] == texts


@pytest.mark.two_backends("texts, after the tokens")
def test_stop_strings(task, pictures):
    inputs = {"images": pictures, "prompts": PROMPTS}
    texts = task.generate(inputs, strip_prompt=True, **OPTIONS)
    stops = [texts[0][5:9], texts[1][3:8]]
    expected = [
        text[: min([text.find(s) for s in stops if s in text], default=len(text))]
        for text in texts
    ]
    assert expected != texts
    options = {"stop_strings": stops, **OPTIONS}
    assert task.generate(inputs, strip_prompt=True, **options) == expected
    steps = list(task.stream(inputs, **options))
    assert ["".join(row) for row in zip(*steps, strict=True)] == expected
    whole = task.generate(inputs, **options)
    assert whole == [f"{p}\n{text}" for p, text in zip(PROMPTS, expected, strict=True)]
    scored = task.generate(inputs, return_scores=True, **options)
    assert len(scored[0].token_ids) == len(scored[0].token_log_probabilities) < 12


@pytest.mark.parametrize(
    "with_pictures",
    [True, pytest.param(False, marks=pytest.mark.two_backends("fewer inputs"))],
)
def test_choices_have_the_probabilities_of_a_full_forward_pass(
    task, pictures, with_pictures
):
    inputs = {"prompts": PROMPTS}
    if with_pictures:
        inputs["images"] = pictures
    choices = ["blue", "a red ball next to a small dog", "the dog"]
    results = task.choose(inputs, choices)
    x, y, weight = task.preprocessor(
        {
            "prompts": [prompt for prompt in PROMPTS for _ in choices],
            "responses": choices * 3,
            **({"images": np.repeat(pictures, 3, axis=0)} if with_pictures else {}),
        }
    )
    logits = ops.convert_to_numpy(apply(task, x)).astype("float64")
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=2, keepdims=True))
    own = np.take_along_axis(log_probabilities, y[:, :, None], axis=2)[:, :, 0]
    totals = (own * weight).sum(axis=1).reshape(3, 3)
    expected = np.exp(totals - totals.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    for result, row in zip(results, expected, strict=True):
        np.testing.assert_allclose([result[c] for c in choices], row, atol=1e-4)
        assert sum(result.values()) == pytest.approx(1)
        assert list(result.values()) == sorted(result.values(), reverse=True)
    alone = {"prompts": PROMPTS[0]}
    if with_pictures:
        alone["images"] = pictures[0]
    assert task.choose(alone, choices) == pytest.approx(results[0], abs=1e-4)


def test_a_wide_beam_finds_the_likeliest_choice(task, pictures):
    choices = ["blue", "a red ball", "the dog", "green"]
    inputs = {"images": pictures, "prompts": PROMPTS}
    expected = [next(iter(row)) for row in task.choose(inputs, choices)]
    task.compile(sampler=BeamSearch(num_beams=4, length_penalty=0.0))
    options = {"strip_prompt": True, "constraint": Choices(choices)}
    assert task.generate(inputs, **options) == expected


@pytest.mark.two_backends("masks beside those of other beams")
def test_beams_choose_even_where_all_repeats(task):
    task.compile(sampler=BeamSearch(num_beams=3, no_repeat_ngram_size=1))
    choices = ["the the the", "dog dog dog dog"]
    options = {"constraint": Choices(choices), "return_scores": True}
    scored = task.generate("ocr", **options)
    assert scored.text in choices
    assert scored.log_probability < 0


def test_bad_choices_and_seeds(task):
    for choices in ("yes", None, []):
        with pytest.raises(ValueError, match="list of texts"):
            task.choose("ocr", choices)
    assert set(task.choose("ocr", (text for text in ["a", "b"]))) == {"a", "b"}
    for seed in (-1, 1.5, "a"):
        with pytest.raises(ValueError, match="seed"):
            task.generate("ocr", seed=seed)


@pytest.mark.parametrize("limit", [0, -1, 2.5, float("nan"), float("inf"), "a", [3]])
def test_limits_are_whole_numbers(task, limit):
    for name in ("max_new_tokens", "max_length"):
        with pytest.raises(ValueError, match=f"Expected {name} as a whole number"):
            task.generate("ocr", **{name: limit})


def test_encoded_images_stand_for_the_pictures(task, pictures):
    inputs = {"images": pictures, "prompts": PROMPTS}
    texts = task.generate(inputs, **OPTIONS)
    encoded = task.encode_images(list(pictures))
    assert task.generate({**inputs, "images": encoded}, **OPTIONS) == texts
    one = task.encode_images(pictures[0])
    asked = task.generate({"images": one, "prompts": PROMPTS}, **OPTIONS)
    same = task.generate({"images": pictures[0], "prompts": PROMPTS}, **OPTIONS)
    assert asked == same
    assert task.choose({"images": one, "prompts": "ocr"}, ["a", "b"])
    with pytest.raises(ValueError, match="encoded images"):
        task.generate({"images": encoded, "prompts": PROMPTS[:2]}, **OPTIONS)
    with pytest.raises(TypeError, match="Received: a list"):
        task.generate({"images": [one, one, one], "prompts": PROMPTS}, **OPTIONS)
    with pytest.raises(TypeError, match="Pass the pictures"):
        task.detect(one, ["dog"])


def test_encoded_images_can_be_trained_on(task, pictures):
    if keras.config.backend() != "torch":
        pytest.skip("Only PyTorch knows tensors that nothing can be trained on.")
    encoded = task.encode_images(list(pictures)).embeddings
    weight = keras.Variable(np.ones(encoded.shape[-1], np.float32))
    (encoded * weight.value).sum().backward()
    expected = keras.ops.convert_to_numpy(encoded).sum(axis=(0, 1))
    np.testing.assert_allclose(weight.value.grad, expected, rtol=1e-5)


def test_the_same_picture_in_a_batch_is_encoded_once(task, pictures, monkeypatch):
    shapes = []
    encode = type(task.backbone).encode_images

    def counted(backbone, images):
        shapes.append(tuple(images.shape))
        return encode(backbone, images)

    monkeypatch.setattr(type(task.backbone), "encode_images", counted)
    fresh = PaliGemma2CausalLM(task.backbone, task.preprocessor)
    images = [pictures[0], pictures[1], pictures[0].copy(), pictures[0]]
    prompts = ["ocr", "ocr", "caption en", "detect cat"]
    together = fresh.generate({"images": images, "prompts": prompts}, **OPTIONS)
    assert {shape[0] for shape in shapes} == {2}
    for image, prompt, text in zip(images, prompts, together, strict=True):
        assert task.generate({"images": image, "prompts": prompt}, **OPTIONS) == text


@pytest.mark.two_backends("test_repetition has it on all")
def test_repetition_control_ends_repetition(task, pictures):
    task.compile(sampler=Sampler(no_repeat_ngram_size=1))
    inputs = {"images": pictures, "prompts": PROMPTS}
    scored = task.generate(inputs, return_scores=True, **OPTIONS)
    for answer in scored:
        assert len(set(answer.token_ids.tolist())) == 12


def test_few_compilations_for_prompts_of_all_lengths(pictures):
    task = random_task(sequence_length=128)
    traced = []
    run = compilation.compile_function

    def counting(function, *settings):
        def traced_function(*arguments):
            traced.append(function)
            return function(*arguments)

        return run(traced_function, *settings)

    if keras.config.backend() != "jax":
        pytest.skip("Compilations are counted on JAX.")
    rng = np.random.default_rng(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compilation, "compile_function", counting)
        for _ in range(50):
            count = int(rng.integers(1, 9))
            arrays = random_inputs(rng.integers(1, 61, count).tolist())
            task.compile(sampler=Sampler(temperature=float(rng.uniform(0.5, 2))))
            raw = task.preprocessor
            task.preprocessor = None
            task.generate(
                arrays, max_length=128, stop_token_ids=[1], seed=int(rng.integers(9))
            )
            task.preprocessor = raw
    assert 1 < len(traced) <= 6


def test_warmup_of_nothing(task):
    with pytest.raises(ValueError, match="batch_size"):
        task.warmup(batch_size=0)


def test_warmup_compiles_what_generate_needs(task, pictures):
    if keras.config.backend() != "jax":
        pytest.skip("Compilations are counted on JAX.")
    import jax

    fresh = PaliGemma2CausalLM(task.backbone, task.preprocessor)
    fresh.warmup(batch_size=3, prompt_length=40)
    compiled = []
    with pytest.MonkeyPatch.context() as patch:
        compile_or_get = jax._src.compiler.compile_or_get_cached

        def counting(*args, **kwargs):
            compiled.append(args[1])
            return compile_or_get(*args, **kwargs)

        patch.setattr(jax._src.compiler, "compile_or_get_cached", counting)
        fresh.generate({"images": pictures, "prompts": PROMPTS})
    assert not compiled


def test_warmup_records_the_step_that_generate_takes(task, pictures, monkeypatch):
    if keras.config.backend() != "torch":
        pytest.skip("Steps are recorded on PyTorch alone.")
    recorded = []
    record = recording._record

    def counting(function, *arguments):
        recorded.append(function.__name__)
        return record(function, *arguments)

    monkeypatch.setattr(recording, "_record", counting)
    inputs = {"images": pictures, "prompts": PROMPTS}
    fresh = random_task()
    expected = fresh.generate(inputs, max_new_tokens=16)
    assert not recorded
    fresh.warmup(batch_size=3, prompt_length=40, max_new_tokens=16)
    assert recorded == ["_embed_rows", "_prefill_rows", "decode_step"]
    monkeypatch.setattr(recording, "CALLS_BEFORE_RECORDING", 0)
    assert fresh.generate(inputs, max_new_tokens=16) == expected
    assert len(recorded) == 3


def test_recorded_steps_follow_a_parameter_to_other_memory(pictures):
    if keras.config.backend() != "torch":
        pytest.skip("Steps are recorded on PyTorch alone.")
    fresh, other = random_task(), random_task(seed=1)
    inputs = {"images": pictures[:1], "prompts": PROMPTS[:1]}
    fresh.warmup(prompt_length=8, max_new_tokens=16)
    fresh.generate(inputs, max_new_tokens=16)
    # As `module.to(...)` does.
    for mine, its in zip(fresh.variables, other.variables, strict=True):
        mine.value.data = its.value.data.clone()
    fresh.warmup(prompt_length=8, max_new_tokens=16)
    expected = other.generate(inputs, max_new_tokens=16)
    assert fresh.generate(inputs, max_new_tokens=16) == expected


def test_autocasting_is_neither_recorded_nor_replayed(pictures, monkeypatch):
    if keras.config.backend() != "torch":
        pytest.skip("Steps are recorded on PyTorch alone.")
    import torch

    def scores(model):
        inputs = {"images": pictures, "prompts": PROMPTS}
        answers = model.generate(inputs, max_new_tokens=4, return_scores=True)
        return [answer.log_probability for answer in answers]

    casting = torch.autocast("cpu", dtype=torch.bfloat16)
    with casting:
        expected = scores(random_task())
    plain = scores(random_task())
    assert expected != plain
    monkeypatch.setattr(recording, "CALLS_BEFORE_RECORDING", 0)
    fresh = random_task()
    with casting:
        assert scores(fresh) == expected
    np.testing.assert_allclose(scores(fresh), plain, atol=1e-5)
    with casting:
        assert scores(fresh) == expected


def test_threads_that_record_at_once(pictures, monkeypatch):
    if keras.config.backend() != "torch":
        pytest.skip("Steps are recorded on PyTorch alone.")
    monkeypatch.setattr(recording, "CALLS_BEFORE_RECORDING", 2)
    fresh = random_task()
    requests = [{"images": pictures[:n], "prompts": PROMPTS[:n]} for n in (1, 2, 3)]
    expected = [random_task().generate(each, **OPTIONS) for each in requests]
    with ThreadPoolExecutor(3) as threads:
        calls = [threads.submit(fresh.generate, each, **OPTIONS) for each in requests]
        assert [call.result() for call in calls] == expected


@pytest.mark.two_backends("the steps of generate")
def test_a_stream_keeps_the_sampler_it_was_called_with(task):
    expected = task.generate("ocr", strip_prompt=True, **OPTIONS)
    pieces = task.stream("ocr", **OPTIONS)
    task.compile(sampler=BeamSearch(2))
    assert "".join(pieces) == expected


def test_what_needs_a_preprocessor_or_no_beams(raw, task):
    inputs = random_inputs([3])
    with pytest.raises(ValueError, match="preprocessor"):
        raw.stream(inputs, max_new_tokens=2)
    with pytest.raises(ValueError, match="preprocessor"):
        raw.choose(inputs, ["a", "b"])
    with pytest.raises(ValueError, match="stop_token_ids"):
        raw.generate(inputs, max_new_tokens=2, stop_strings="a", stop_token_ids=[1])
    with pytest.raises(ValueError, match="preprocessor"):
        raw.generate(inputs, constraint=Choices(["a"]), **OPTIONS)
    task.compile(sampler=BeamSearch(2))
    with pytest.raises(ValueError, match="beams"):
        task.stream("ocr")
    with pytest.raises(ValueError, match="beams"):
        task.generate("ocr", stop_strings="a")


@pytest.mark.one_backend("the scores of texts")
def test_arrays_get_their_scores_too(raw):
    inputs = random_inputs([3, 5])
    options = {"max_new_tokens": 4, "stop_token_ids": None}
    result = raw.generate(inputs, return_scores=True, **options)
    assert result["log_probabilities"].shape == result["token_ids"].shape
    assert not result["log_probabilities"][0, :3].any()
    assert (result["log_probabilities"][1, 5:] < 0).all()
