"""The training step: data, loss, memory."""
