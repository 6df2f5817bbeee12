"""Planners: from the return of action sequences to a plan, with a model known only as a function."""
