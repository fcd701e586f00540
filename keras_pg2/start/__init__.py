"""What happens before Keras is imported: its backend, registration, names by need."""
