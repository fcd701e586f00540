"""Presets of Keras: our own, and those of KerasHub's PaliGemma."""
