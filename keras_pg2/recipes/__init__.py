"""How the papers trained each transfer task: prompt, length, settings, metric.

    recipe = recipes.get("docvqa", size="3b", resolution=448)
    recipe.prompt, recipe.learning_rate, recipe.epochs, recipe.metric

The tasks are in transfers.toml; `record` explains its keys and sources. Adam (b2
0.999), gradients clipped to norm 1, a cosine to 0 after 5 % linear warm-up and float32
are common to all.
"""

from keras_pg2.recipes.record import METRICS as METRICS
from keras_pg2.recipes.record import RESOLUTIONS as RESOLUTIONS
from keras_pg2.recipes.record import SIZES as SIZES
from keras_pg2.recipes.selection import Recipe as Recipe
from keras_pg2.recipes.selection import default as default
from keras_pg2.recipes.selection import get as get
from keras_pg2.recipes.selection import names as names
