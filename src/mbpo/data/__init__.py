"""Experience, real and imagined: storing it, mixing it, and splitting it for the model."""
