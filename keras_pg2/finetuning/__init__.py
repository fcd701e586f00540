"""Fine-tuning: from a data file to an evaluated adapter that others can load.

    from keras_pg2 import PaliGemma2CausalLM, finetuning
    from keras_pg2.datasets.jsonl import read_jsonl

    model = PaliGemma2CausalLM.from_preset("pali_gemma2_pt_3b_224")
    model.enable_lora(8)
    rows, eval_rows = finetuning.split_rows(read_jsonl("train.jsonl"), share=0.1)
    settings = finetuning.Settings(recipe="docvqa", epochs=3)
    finetuning.finetune(model, rows, eval_rows, settings, "run")

A run that was stopped goes on with `resume=True`, to the same numbers.
"""

from keras_pg2.start.lazy_names import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
