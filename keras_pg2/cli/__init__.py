"""The command line, `keras-pg2`.

Keras takes its backend from the environment when it is first imported, so
nothing here imports it before a command has chosen one.
"""

from keras_pg2.cli.app import app as app
from keras_pg2.cli.app import main as main
