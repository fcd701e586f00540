"""What the configuration of a PEFT adapter says of each layer.

The rules are PEFT's (peft 0.21: `tuners/tuners_utils.py`, check_target_module_exists,
and `utils/other.py`, get_pattern_key). Its names are those of the modules of the
transformers that was installed, which the names in the file tell.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TypeVar

from keras_pg2.conversion.adapters.name_patterns import NamePatterns
from keras_pg2.conversion.adapters.peft_config import PeftConfig

T = TypeVar("T", int, float)

ALL_LINEAR = "all-linear"


def module_name(key: str) -> str:
    """Return the name that transformers 5 gives the module of a key of the hub."""
    return _since_4_52(key).replace("vision_tower.vision_model.", "vision_tower.")


def _since_4_52(key: str) -> str:
    name = _before(key).replace("language_model.model.", "language_model.")
    return f"model.{name}"


def _before(key: str) -> str:
    return key.removesuffix(".weight")


_STYLES = (module_name, _since_4_52, _before)


def _fitting(
    modules: Collection[str], layers: Mapping[str, str]
) -> Iterator[dict[str, str]]:
    """Yield the layers by the names of each version that names all these modules."""
    for style in _STYLES:
        names = {style(key): layer for key, layer in layers.items()}
        if all(module in names for module in modules):
            yield names


class PeftTargets:
    """Which modules a configuration names, and with what rank and alpha.

    Args:
        config: The configuration.
    """

    def __init__(self, config: PeftConfig) -> None:
        self._config = config
        self._patterns = NamePatterns(config.source)

    def rank(self, module: str) -> int:
        """Return the rank of a module.

        Raises:
            ValueError: if an expression is invalid, or takes too long.
        """
        return self._of_module(self._config.rank_pattern, module, self._config.rank)

    def alpha(self, module: str) -> float:
        """Return the alpha of a module.

        Raises:
            ValueError: as `rank`.
        """
        return self._of_module(self._config.alpha_pattern, module, self._config.alpha)

    def layers_without_factors(
        self, modules: Collection[str], layers: Mapping[str, str]
    ) -> list[str]:
        """Return layers that the configuration names and a file has no factors of.

        Args:
            modules: Names of the modules whose factors are in the file.
            layers: All dense layers, by the hub's keys of their kernels.

        Raises:
            ValueError: as `rank`.
        """
        missing = [
            {names[name] for name in self._named(names).difference(modules)}
            for names in _fitting(modules, layers)
        ]
        # A file may fit several versions, of which only one was there.
        return sorted(set.intersection(*missing)) if missing else []

    def modules_without_a_name(
        self, modules: Collection[str], layers: Mapping[str, str]
    ) -> list[str]:
        """Return modules in a file that the configuration leaves out, as PEFT does.

        Args:
            modules: Names of the modules whose factors are in the file.
            layers: All dense layers, by the hub's keys of their kernels.

        Raises:
            ValueError: as `rank`.
        """
        if not self._config.target_modules:
            return []
        more = [
            set(modules).difference(self._named(names))
            for names in _fitting(modules, layers)
        ]
        return sorted(set.intersection(*more)) if more else []

    def _named(self, names: Collection[str]) -> set[str]:
        return {name for name in names if self._is_named(name)}

    def _of_module(self, patterns: Mapping[str, T], module: str, other: T) -> T:
        """Return the number of the first pattern that ends the name of a module."""
        for pattern, value in patterns.items():
            if self._patterns.match(rf"(.*\.)?({pattern})$", module):
                return value
        return other

    def _is_named(self, name: str) -> bool:
        """Return whether PEFT would give a module factors."""
        targets = self._config.target_modules
        if not targets or self._matches(self._config.exclude_modules, name):
            return False
        if isinstance(targets, str) and targets.lower() == ALL_LINEAR:
            return True
        if not self._matches(targets, name):
            return False
        wanted = self._config.layers_to_transform
        if wanted is None or isinstance(targets, str) or name in targets:
            return True
        for each in self._config.layers_pattern or (r"[^.]*",):
            found = self._patterns.match(rf"(?:^|.*?\.){each}\.(?P<idx>\d+)\.", name)
            if found:
                return int(found["idx"]) in wanted
        return False

    def _matches(self, targets: str | Collection[str] | None, name: str) -> bool:
        """Return whether names or an expression of the configuration mean a module."""
        if isinstance(targets, str):
            return self._patterns.fullmatch(targets, name) is not None
        return any(name == each or name.endswith(f".{each}") for each in targets or ())
