"""Readers of public data sets' own files, with everything that metrics need.

    examples = public.read("docvqa", "docvqa/", split="val")
    examples[0].fields["question"], examples[0].truth.answers
    rows = public.training_rows(examples, "{question}")     # for `fit`

Each data set is a `DataSet` in the file of its family; `DATA_SETS` has them by name.
"""

from keras_pg2.start.lazy_names import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
