"""Special tasks of the papers in small: pictures that are drawn, and what is in them.

`molecules` has structural formulas and SMILES, `music` note lines and **kern, `tables`
tables and HTML. Each has

    examples(split, count, seed)    # for `evaluation.evaluate`
    PROMPT                          # what the model is asked

and `folder.write_folder` writes them as the files that `keras-pg2 finetune` reads. The
same seed draws the same pictures, and nothing is in two splits, whatever the seed.
"""
