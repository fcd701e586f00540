"""Files of LoRA adapters: our own, and directories of PEFT."""
