"""Recorded operations of PyTorch, replayed without Keras' Python.

`set_recording(False)`, or the environment variable KERAS_PG2_RECORDING=0, turns it off.
"""

from keras_pg2.generation.recording.recording import set_recording as set_recording
