"""For the weights in data/weights: their cards, and the training of the feature network."""
