"""Comparisons of metrics with what defines them; each module has its own `CHECKS`.

`scripts/check_metrics.py` runs them all on many cases, tests on few.
"""
