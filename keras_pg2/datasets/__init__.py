"""Training rows for PaliGemma: annotation files read in, pictures drawn on demand."""
