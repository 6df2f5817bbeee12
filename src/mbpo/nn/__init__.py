"""Networks, distributions and normalisation: arrays in, arrays out."""
