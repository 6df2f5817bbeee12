"""Measuring the theorems' terms on a run: when to trust its model. Numbers only; `viz` draws them."""
