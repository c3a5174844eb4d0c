"""Training objectives: modules that own a model and map a batch to LossTerms."""
