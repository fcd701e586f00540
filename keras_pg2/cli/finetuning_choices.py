"""What the options of `finetune` choose: rows from files, weights that are trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from keras_pg2.cli.outputs import expand_user

if TYPE_CHECKING:
    from keras_pg2.datasets.detection_rows import EncodeMask
    from keras_pg2.datasets.rows import Rows
    from keras_pg2.recipes import Recipe
    from keras_pg2.tasks import PaliGemma2CausalLM
    from keras_pg2.typing import Architecture

RANK = 8
"""Rank of LoRA, where none is given."""


@dataclass(frozen=True)
class Files:
    """Where rows come from; the options of the command."""

    data: Path
    eval_data: Path | None = None
    eval_share: float | None = None
    split: str | None = None
    eval_split: str | None = None
    image_folder: Path | None = None
    format: str | None = None
    annotations: Path | None = None
    prompt: str | None = None
    image_key: str | None = None
    prompt_key: str | None = None
    response_key: str | None = None
    encoding: str | None = None
    absent_share: float | None = None
    max_overhang: float | None = None
    skip_bad: bool = False

    def read(
        self, recipe: Recipe, seed: int, encode_mask: Callable[[], EncodeMask]
    ) -> tuple[Rows, Rows]:
        """Return rows to train and to evaluate on, their pictures decoded once.

        Args:
            recipe: Recipe that has what the options leave open.
            seed: Seed of the split.
            encode_mask: Makes an encoder of masks.

        Raises:
            ValueError, OSError: for bad files, entries, pictures; names them.
        """
        from keras_pg2.datasets.rows import Rows, check_pictures
        from keras_pg2.finetuning import read_rows, split_rows

        is_apart = self.eval_data is not None or self.eval_split is not None
        if is_apart and self.eval_share is not None:
            raise ValueError(
                "Expected either --eval-share or rows apart (--eval-data, "
                "--eval-split), received both."
            )
        self._check_splits()

        def read(path: Path, annotations: Path | None, split: str) -> Rows:
            rows = read_rows(
                expand_user(path),
                self.image_folder,
                format=self.format,
                prompt=self.prompt,
                recipe=recipe,
                annotations=annotations,
                image_key=self.image_key,
                prompt_key=self.prompt_key,
                response_key=self.response_key,
                encoding=self.encoding,
                encode_mask=encode_mask,
                absent_share=self.absent_share,
                max_overhang=self.max_overhang,
                split=split,
                on_bad="skip" if self.skip_bad else "raise",
                seed=seed,
            )
            return check_pictures(rows, "skip" if self.skip_bad else "raise")

        rows = read(self.data, self.annotations, self.split or "train")
        if is_apart:
            path = self.data if self.eval_data is None else self.eval_data
            return rows, read(path, None, self.eval_split or "val")
        if self.eval_share is not None:
            return split_rows(rows, self.eval_share, seed)
        return rows, Rows([])

    def _check_splits(self) -> None:
        """Raise ValueError if a split of what has no splits is asked for."""
        from keras_pg2.finetuning.file_formats import has_splits

        for name, split, path in (
            ("--split", self.split, self.data),
            ("--eval-split", self.eval_split, self.eval_data or self.data),
        ):
            path = expand_user(path)
            if split is not None and not has_splits(path, self.format):
                raise ValueError(
                    f"Expected {name} with a YOLO folder, or a public data set by its "
                    f"name (--format), received it with {path}. Leave it out."
                )


@dataclass(frozen=True)
class Trained:
    """Which weights are trained.

    Raises:
        ValueError: for options that do not go together, or unknown parts.
    """

    rank: int | None = None
    alpha: float | None = None
    targets: list[str] | None = None
    parts: list[str] | None = None
    full: bool = False
    freeze: list[str] | None = None
    quantize: str | None = None

    def __post_init__(self) -> None:
        from keras_pg2.modeling.lora import check_rank
        from keras_pg2.modeling.parts import PARTS, check_parts
        from keras_pg2.tasks.quantizing import check_mode

        if self.quantize is not None:
            check_mode(self.quantize)
        for name in ("rank", "alpha", "targets", "parts", "quantize"):
            if self.full and getattr(self, name) is not None:
                raise ValueError(
                    f"Expected --{name} without --full, which trains the weights "
                    "themselves and no LoRA."
                )
        for name in ("targets", "parts", "freeze"):
            if getattr(self, name) == []:
                raise ValueError(f"Expected names for --{name}, received none.")
        check_rank(
            RANK if self.rank is None else self.rank,
            1.0 if self.alpha is None else self.alpha,
        )
        for name in ("parts", "freeze"):
            if getattr(self, name) is not None:
                names = list(check_parts(getattr(self, name), f"--{name}"))
                object.__setattr__(self, name, names)
        if self.full and set(self.freeze or ()) >= set(PARTS):
            raise ValueError(
                "Expected something to train with --full, received --freeze of all "
                "parts."
            )
        both = set(self.parts or ()) & set(self.freeze or ())
        if both:
            raise ValueError(
                f"Expected each part in --parts or in --freeze, received "
                f"{', '.join(sorted(both))} in both."
            )

    def check_targets(self, architecture: Architecture) -> None:
        """Check that targets are layers of a network of some architecture.

        Raises:
            ValueError: if one matches nothing; names near ones.
        """
        from keras_pg2.tasks.adapters.layers import choose_layers

        if self.targets is not None:
            choose_layers(_paths(architecture), self.targets, self.parts)

    def check_vision_is_frozen(
        self, architecture: Architecture, freezes_vision: bool
    ) -> None:
        """Check that the vision tower of an architecture gets no updates.

        Raises:
            ValueError: if it does.
        """
        from keras_pg2.modeling.parts import PARTS
        from keras_pg2.tasks.adapters.layers import choose_layers

        if self.full:
            is_trained = "vision_encoder" not in self._frozen(freezes_vision)
            advice = "Add --freeze vision_encoder"
        else:
            parts = self._lora_parts(freezes_vision)
            is_trained = parts is None or "vision_encoder" in parts
            if is_trained and self.targets is not None:
                chosen = choose_layers(_paths(architecture), self.targets, parts)
                is_trained = any(
                    path.startswith(PARTS["vision_encoder"]) for path in chosen
                )
            advice = "Add --parts text_decoder"
        if is_trained:
            raise ValueError(
                "Expected --cache-features with a vision tower that is frozen and "
                "without LoRA. Received options by which it is trained. "
                f"{advice}, or leave --cache-features out."
            )

    def _frozen(self, freezes_vision: bool) -> set[str]:
        by_recipe = {"vision_encoder"} if freezes_vision else set()
        return {*(self.freeze or ()), *by_recipe}

    def _lora_parts(self, freezes_vision: bool) -> list[str] | None:
        from keras_pg2.modeling.parts import WITH_BLOCKS

        frozen = self._frozen(freezes_vision)
        if self.parts is None and frozen:
            return [part for part in WITH_BLOCKS if part not in frozen]
        return self.parts

    def apply(self, model: PaliGemma2CausalLM, freezes_vision: bool) -> None:
        """Make just these weights trainable.

        Args:
            model: The model.
            freezes_vision: Whether the recipe freezes the vision tower.
        """
        from keras_pg2.modeling.parts import PARTS

        if self.full:
            for part in self._frozen(freezes_vision):
                getattr(model.backbone, PARTS[part]).trainable = False
            return
        parts = self._lora_parts(freezes_vision)
        if self.quantize is not None:
            model.quantize(self.quantize)
        rank = RANK if self.rank is None else self.rank
        model.enable_lora(rank, self.targets, alpha=self.alpha, parts=parts)


def _paths(architecture: Architecture) -> list[str]:
    """Return the paths of all layers with a kernel."""
    from keras_pg2.catalogue.architecture import variable_shapes

    shapes = variable_shapes(**architecture)
    return [path.rpartition("/")[0] for path in shapes if path.endswith("/kernel")]
