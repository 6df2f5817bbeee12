"""Figures, drawn from run folders only, never from a live object."""
