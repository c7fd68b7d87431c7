"""The evaluation: one frozen plan, one report, and the tables, plots and gate made from it."""

__all__: list[str] = []
