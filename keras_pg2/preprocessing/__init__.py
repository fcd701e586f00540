"""Pictures and texts to arrays, and token ids back to text.

Nothing is imported here, so that pictures and prompts are checked without Keras.
"""
