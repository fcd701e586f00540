"""LoRA adapters of a model in memory."""
