"""How good a model is on a data set: answers, figures, intervals, reports."""
