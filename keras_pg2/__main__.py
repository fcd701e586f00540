"""The command, as `python -m keras_pg2`."""

from keras_pg2.cli import main

main()
