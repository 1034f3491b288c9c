"""The miniature world: a renderer, and small models trained on it, in the real formats."""
