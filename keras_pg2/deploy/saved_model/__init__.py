"""Export to TensorFlow's SavedModel."""
