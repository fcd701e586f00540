"""How `finetune` starts: everything is checked, then the model is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from keras_pg2.catalogue.names import locate
from keras_pg2.cli.finetuning_choices import Files, Trained
from keras_pg2.cli.messages import notice, progress

if TYPE_CHECKING:
    from keras_pg2.conversion.found_models import FoundModel
    from keras_pg2.datasets.detection_rows import EncodeMask
    from keras_pg2.finetuning import Result, Settings

_NUM_TOLD = 5


def run_finetuning(
    found: FoundModel,
    dtype: str,
    files: Files,
    trained: Trained,
    settings: Settings,
    output: Path,
    *,
    resume: bool,
    checkpoint_activations: bool,
) -> Result:
    """Check everything that can be checked, then load the model and train it.

    Raises:
        ValueError, OSError, ImportError: as `finetuning.finetune`, most of it before
            the model is loaded.
    """
    import keras

    from keras_pg2.conversion.formats import open_checkpoint
    from keras_pg2.conversion.to_preprocessor import build_preprocessor
    from keras_pg2.finetuning.description import find_progress
    from keras_pg2.finetuning.lengths import leave_out_long
    from keras_pg2.finetuning.plan import find_recipe
    from keras_pg2.finetuning.run import LAST
    from keras_pg2.finetuning.start import prepare_run
    from keras_pg2.tasks import PaliGemma2CausalLM
    from keras_pg2.tasks.deciding.model_files import ModelFiles
    from keras_pg2.tasks.training.precision import check_trained_dtypes

    if trained.full:
        check_trained_dtypes([dtype])
    before = find_progress(output / LAST, resume)
    if not files.data.expanduser().exists():
        raise FileNotFoundError(
            f"Expected a data file, but there is no {str(files.data)!r}."
        )
    checkpoint = open_checkpoint(locate(found.base))
    checkpoint.check_is_float()
    architecture = checkpoint.architecture
    if checkpoint.preprocessing.tokenizer is None:
        raise ValueError(
            f"Expected a preset with a tokenizer, received {found.title!r} without one."
        )
    preprocessor = build_preprocessor(checkpoint)
    trained.check_targets(architecture)
    recipe = find_recipe(settings.recipe, architecture)
    if settings.cache_features:
        trained.check_vision_is_frozen(architecture, recipe.freezes_vision)

    def encode_mask() -> EncodeMask:
        from keras_pg2.codecs.mask_codec import MaskCodec

        codec = ModelFiles.of_preset(found).mask_codec or MaskCodec.released()
        return codec.encode_text

    with progress(f"Reading {files.data}"):
        rows, eval_rows = files.read(recipe, settings.seed, encode_mask)
        if files.skip_bad:
            longest = settings.text_length or recipe.text_length
            rows = leave_out_long(rows, preprocessor, longest)
            if eval_rows:
                eval_rows = leave_out_long(eval_rows, preprocessor, longest)
        _tell_skipped([*rows.skipped, *eval_rows.skipped])
        for name, part in (("train on", rows), ("evaluate on", eval_rows)):
            for text in part.notes:
                notice(f"Rows to {name}: {text}")
        run = prepare_run(
            output,
            before,
            settings,
            rows,
            eval_rows,
            architecture=architecture,
            preprocessor=preprocessor,
            is_lora=not trained.full,
            known={"base": found.name, "backend": keras.config.backend()},
        )
    keras.utils.set_random_seed(settings.seed)
    with progress(f"Loading {checkpoint.path.name}"):
        model = PaliGemma2CausalLM.from_preset(found, dtype=dtype)
        if found.adapters:
            # What is trained now goes on the result of what was trained before.
            model.adapters.merge(can_unmerge=False)
            model.adapters.origin, model.adapters.base_name = found, found.name
        trained.apply(model, recipe.freezes_vision)
        if checkpoint_activations:
            parts = ("vision_encoder", "text_decoder")
            model.backbone.checkpoint_activations = parts
    return run.train(model)


def _tell_skipped(messages: list[str]) -> None:
    """Tell the first few of what was wrong with rows that were left out."""
    for message in messages[:_NUM_TOLD]:
        notice(f"Skipped: {message}")
    if len(messages) > _NUM_TOLD:
        notice(f"... and {len(messages) - _NUM_TOLD} more.")
