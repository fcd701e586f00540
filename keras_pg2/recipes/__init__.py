"""How the papers trained each transfer task: prompt, length, settings, metric.

    recipe = recipes.get("docvqa", size="3b", resolution=448)
    recipe.prompt, recipe.learning_rate, recipe.epochs, recipe.metric

The tasks are in transfers.toml; `record` explains its keys and sources. Adam (b2
0.999), gradients clipped to norm 1, a cosine to 0 after 5 % linear warm-up and float32
are common to all.
"""

from keras_pg2.start.lazy_names import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
