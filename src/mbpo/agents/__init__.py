"""The algorithms, each one file that reads like its paper, behind one interface."""
