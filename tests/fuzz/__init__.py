"""Damaged and hostile files for every reader, by chance but reproducible.

    python -m tests.fuzz --count 200000            # all formats
    python -m tests.fuzz --format npz --seed 7 --index 1234   # one input again

`bases` writes a small whole file of each format, `mutations` and `containers` damage
it, `targets` says how it is read and which library it is compared with, `judging` what
came of it, `running` does so many times in processes that may crash, hang or run out of
memory.
"""
