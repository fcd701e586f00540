"""The adapters of one model: one is in the network, the others wait by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_pg2.conversion.adapters.archive import KeptAdapters
from keras_pg2.conversion.adapters.bases import check_layers, kernel_shapes
from keras_pg2.conversion.adapters.files import (
    ENDING,
    Adapter,
    write_adapter,
)
from keras_pg2.conversion.adapters.opening import find_adapter
from keras_pg2.conversion.adapters.peft import write_peft
from keras_pg2.conversion.found_models import FoundModel
from keras_pg2.modeling.backbone import PaliGemma2Backbone
from keras_pg2.modeling.dense import Dense
from keras_pg2.modeling.dropout import check_dropout
from keras_pg2.modeling.lora import (
    check_can_adapt,
    check_rank,
    freeze,
    lora_layers,
    set_lora_dropout,
)
from keras_pg2.tasks.adapters.base import (
    check_nothing_else_trains,
    describe_base,
    hub_name,
    open_adapter,
)
from keras_pg2.tasks.adapters.factors import (
    merge_factors,
    read_factors,
    start_factors,
    write_factors,
)
from keras_pg2.tasks.adapters.layers import (
    Targets,
    choose_layers,
    default_targets,
    dense_layers,
)

NONE = "none"
DEFAULT = "default"


class _Merged(NamedTuple):
    """An adapter's name, and the kernels as they were by layer, on the host."""

    name: str
    kernels: Mapping[str, np.ndarray]


class Adapters:
    """The LoRA adapters of a model, by name: one is in the network, the others wait.

    `model.enable_lora` starts one. Available as `model.adapters`.

        model.adapters.save("ocr.safetensors")
        model.adapters.load("captions.safetensors")  # in the network now
        model.adapters.activate("default")

    Args:
        backbone: Network of the model.
        forget_compiled: Called after a change with True if everything that was compiled
            is out of date, False if only the training steps are.
        preset_name: Returns the name of the preset, where that is known.

    Attributes:
        origin: Where the weights without the adapters are from; None if that is not
            known, as after merging for good.
    """

    def __init__(
        self,
        backbone: PaliGemma2Backbone,
        forget_compiled: Callable[[bool], None],
        preset_name: Callable[[], str] = lambda: "",
    ) -> None:
        self._backbone = backbone
        self._forget_compiled = forget_compiled
        self._preset_name = preset_name
        self._known: dict[str, Adapter] = {}
        self._active: str | None = None
        self._merged: _Merged | None = None
        self._base_name = ""
        self.origin: FoundModel | None = None

    @property
    def base_name(self) -> str:
        """Name of the checkpoint that the adapters belong to; "" if it is not known."""
        return self._base_name or self._preset_name()

    @base_name.setter
    def base_name(self, name: str) -> None:
        self._base_name = name

    @property
    def names(self) -> list[str]:
        """Names of all adapters, in the order in which they were added."""
        self._adopt()
        return list(self._known)

    @property
    def active(self) -> str | None:
        """Name of the adapter in the network, also a merged one; None without one."""
        self._adopt()
        return self._merged.name if self._merged is not None else self._active

    def _enable(
        self,
        rank: int,
        targets: Targets | None,
        alpha: float | None,
        parts: Sequence[str] | None,
        name: str,
        dropout: float,
    ) -> None:
        """Start an adapter; see `PaliGemma2CausalLM.enable_lora`, its one caller."""
        self._begin("enable_lora")
        _check_name(name)
        alpha = rank if alpha is None else alpha
        check_rank(rank, alpha)
        dropout = check_dropout(dropout)
        layers = self._layers()
        if targets is None:
            targets = default_targets(self._backbone, parts)
        chosen = choose_layers(layers, targets, parts)
        check_can_adapt({path: layers[path] for path in chosen})
        if name in self._known:
            settings = dict.fromkeys(chosen, (rank, float(alpha)))
            self._check_same(name, settings, dropout)
            self.activate(name)
            return
        self._store_active()
        freeze(self._backbone)
        start_factors(layers, chosen, rank, alpha)
        words = (t.pattern if isinstance(t, re.Pattern) else t for t in targets)
        read = {path: read_factors(layers[path]) for path in chosen}
        self._known[name] = Adapter(read, tuple(words), dropout=dropout)
        self._active = name
        self._set_dropout()
        self._forget_compiled(True)

    def save(
        self, path: str | Path, *, name: str | None = None, overwrite: bool = False
    ) -> None:
        """Write an adapter as one small file, whole or not at all.

        Args:
            path: File to write, ending in .safetensors.
            name: Name of the adapter; None for the one in the network.
            overwrite: Whether to replace a file at the path.

        Raises:
            ValueError: if there is no such adapter, it is merged, or other weights
                are trainable, which the file would lose.
            FileExistsError: if there is something at the path.
        """
        adapter = self._to_save("adapters.save", name)
        write_adapter(adapter, Path(path).expanduser(), overwrite)

    def export_to_peft(
        self, path: str | Path, *, name: str | None = None, base: str | None = None
    ) -> None:
        """Write a directory that `peft.PeftModel.from_pretrained` loads.

        Args:
            path: A directory that does not exist yet.
            name: Name of the adapter; None for the one in the network.
            base: Hugging Face id or directory of the base, to be noted in it; None for
                that of the preset.

        Raises:
            FileExistsError: if there is something at the path.
            ValueError: as `save`.
        """
        adapter = self._to_save("adapters.export_to_peft", name)
        base = hub_name(self.base_name) if base is None else base
        write_peft(adapter, Path(path).expanduser(), base)

    def load(
        self, path: str | Path, *, name: str | None = None, check_base: bool = True
    ) -> str:
        """Load an adapter and put it in the network; all of it or nothing.

        Args:
            path: A file of `save`, a directory of `finetune` (of which it is the
                result), or a directory of PEFT.
            name: Name to give it; None for that of the file or directory.
            check_base: Whether the model must be the one the file was trained on (a
                directory of PEFT does not tell).

        Returns:
            The name.

        Raises:
            FileNotFoundError: if there is nothing at the path.
            ValueError: if the base is another, layers are missing or of another
                shape, the file is damaged, the name is taken; for DoRA and the like.
        """
        self._begin("adapters.load")
        path = Path(path).expanduser()
        if name is None:
            named = path.resolve()
            name = named.stem if named.suffix.lower() == ENDING else named.name
        path = find_adapter(path)
        _check_name(name)
        if name in self._known:
            raise ValueError(
                f"Expected a new name for the adapter in {path}. Received: {name!r}, "
                "which is there already. Pass another name=..., or delete it first."
            )
        base_name = self.base_name if check_base else None
        self._known[name] = open_adapter(path, self._backbone, base_name)
        self.activate(name)
        return name

    def activate(self, name: str | None) -> None:
        """Put one of `names` in the network, trainable; None or "none" takes it out.

        If ranks and alphas are the same, nothing is compiled again. The next `fit` of
        another adapter begins with a fresh optimizer.

        Raises:
            ValueError: if the name is unknown, or an adapter is merged.
        """
        self._begin("adapters.activate")
        adapter = None if name is None or name == NONE else self._find(name)
        self._store_active()
        freeze(self._backbone)
        factors = {} if adapter is None else self._known[str(name)].layers
        has_changed = write_factors(self._layers(), factors)
        self._active = None if adapter is None else name
        self._set_dropout()
        self._forget_compiled(has_changed)

    def delete(self, name: str) -> None:
        """Forget an adapter.

        Raises:
            ValueError: if the name is unknown, or an adapter is merged.
        """
        self._begin("adapters.delete")
        self._find(name)
        if name == self._active:
            self.activate(None)
        del self._known[name]
        if not self._known:
            for layer in self._layers().values():
                layer.disable_lora()
            self._forget_compiled(True)

    def merge(self, *, can_unmerge: bool = True) -> None:
        """Add the adapter in the network to the kernels, which then cost no more.

        Args:
            can_unmerge: Whether to keep the kernels as they were on the host, so that
                `unmerge` brings them back exactly. False forgets all adapters.

        Raises:
            ValueError: if no adapter is in the network, or the network is quantised.
        """
        self._begin("adapters.merge")
        if self._active is None:
            raise ValueError(
                "Expected an adapter in the network to merge. Received: none. Call "
                "adapters.activate first; known are: "
                f"{', '.join(self._known) or 'none'}."
            )
        self._store_active()
        factors = self._known[self._active].layers
        kernels = merge_factors(self._layers(), factors, can_unmerge)
        if can_unmerge:
            self._merged = _Merged(self._active, kernels)
        else:
            # The others were for the kernels that are gone.
            self._known.clear()
            self.origin = None
        self._active = None
        self._forget_compiled(True)

    def unmerge(self) -> None:
        """Undo `merge`: kernels as they were, and the adapter beside them.

        Raises:
            ValueError: if nothing is merged that can be undone.
        """
        if self._merged is None:
            raise ValueError(
                "Expected a model with a merged adapter. Received: one without. "
                "`adapters.merge` can be undone unless can_unmerge was False."
            )
        layers, (name, kernels), self._merged = self._layers(), self._merged, None
        for path, kernel in kernels.items():
            layers[path].base_kernel.assign(kernel)
        self.activate(name)

    def check_can_quantize(self) -> None:
        """Raise ValueError if kernels wait on the host to be put back."""
        if self._merged is not None:
            raise ValueError(
                "Expected a model without a merged adapter for quantize, after which "
                f"{self._merged.name!r} could not be unmerged. Call adapters.unmerge "
                "first, or merge it with can_unmerge=False."
            )

    def _how_to_train(self) -> str:
        """Return what to call where all weights are frozen."""
        if self._merged is not None:
            return f"Call adapters.unmerge(), as {self._merged.name!r} is merged."
        if self.names and self._active is None:
            waiting = " or ".join(f"adapters.activate({name!r})" for name in self.names)
            return f"Call {waiting}, as no adapter is in the network."
        return "Call enable_lora, or set trainable."

    def _keep(self) -> KeptAdapters:
        """Return all there is, for `PaliGemma2CausalLM.save_assets`, its one caller."""
        self._adopt()
        self._store_active()
        if self._merged is None:
            return KeptAdapters(self._known, self._active)
        name, kernels = self._merged
        return KeptAdapters(self._known, merged=name, kernels=kernels)

    def _restore(self, kept: KeptAdapters, source: Path) -> None:
        """Take over what `_keep` gave; the network has its LoRA and dropout already.

        Raises:
            ValueError: if the network has no such layers; names the file `source`.
        """
        for adapter in kept.known.values():
            check_layers(adapter, kernel_shapes(self._backbone.architecture), source)
        self._known, self._active = dict(kept.known), kept.active
        if kept.merged is not None:
            self._merged = _Merged(kept.merged, kept.kernels)

    def _to_save(self, call: str, name: str | None) -> Adapter:
        """An adapter as it is now, with a description of its base."""
        self._begin(call)
        name = self._active if name is None else name
        if name is None:
            raise ValueError(
                f"Expected an adapter in the network for {call}. Received: none. Call "
                "enable_lora or adapters.activate first, or pass name=...; there are: "
                f"{', '.join(self._known) or 'none'}."
            )
        adapter = self._find(name)
        if name == self._active:
            check_nothing_else_trains(self._backbone, adapter)
            self._store_active()
        base = describe_base(self._backbone, self.base_name)
        return replace(self._known[name], base=base)

    def _begin(self, call: str) -> None:
        if self._merged is not None:
            raise ValueError(
                f"Expected a model without a merged adapter for {call}. Received: one "
                f"with {self._merged.name!r} merged. Call adapters.unmerge first."
            )
        self._adopt()

    def _adopt(self) -> None:
        """Takes over what `backbone.enable_lora` has added."""
        if self._known or self._merged is not None:
            return
        layers = lora_layers(self._backbone)
        if layers:
            read = {path: read_factors(layer) for path, layer in layers.items()}
            names = dict.fromkeys(layer.name for layer in layers.values())
            self._known[DEFAULT] = Adapter(read, tuple(names))
            self._active = DEFAULT

    def _store_active(self) -> None:
        """Copies the factors in the network, which training has changed."""
        if self._active is not None:
            old, layers = self._known[self._active], self._layers()
            now = {path: read_factors(layers[path]) for path in old.layers}
            self._known[self._active] = replace(old, layers=now)

    def _set_dropout(self) -> None:
        """Gives the layers the dropout of the adapter in the network."""
        rates = {}
        if self._active is not None:
            adapter = self._known[self._active]
            rates = dict.fromkeys(adapter.layers, adapter.dropout)
        set_lora_dropout(self._backbone, rates)

    def _layers(self) -> dict[str, Dense]:
        return dense_layers(self._backbone)

    def _find(self, name: str) -> Adapter:
        if name in self._known:
            return self._known[name]
        near = get_close_matches(str(name), self._known, n=2)
        advice = f" Near it: {', '.join(near)}." if near else ""
        raise ValueError(
            f"Expected an adapter of: {', '.join([*self._known, NONE])}. Received: "
            f"{name!r}.{advice}"
        )

    def _check_same(
        self, name: str, wanted: dict[str, tuple[int, float]], dropout: float
    ) -> None:
        known = self._known[name]
        if known.settings() != wanted or known.dropout != dropout:
            rank, alpha = next(iter(wanted.values()))
            raise ValueError(
                f"Expected {name!r} as it was enabled ({known.describe()}). Received: "
                f"rank {rank}, alpha {alpha:g}, {len(wanted)} layers, dropout "
                f"{dropout:g}. Pass another "
                "name=..., or call adapters.delete or adapters.merge first."
            )


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not name or name == NONE:
        raise ValueError(
            f"Expected a name for the adapter other than {NONE!r}, which means no "
            f"adapter. Received: {name!r}."
        )
