"""A report of an evaluation: JSON for programs, Markdown, and one page of HTML."""
