"""From pictures and prompts to texts, boxes and masks."""
