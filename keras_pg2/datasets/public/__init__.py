"""Readers of public data sets' own files, with everything that metrics need.

    examples = public.read("docvqa", "docvqa/", split="val")
    examples[0].fields["question"], examples[0].truth.answers
    rows = training_rows(examples, prompt="{question}")     # for `fit`

Each data set is a `DataSet` in the file of its family; `registry` has them by name.
"""
