"""Parts of a training, each usable alone. There is no trainer: a recipe puts them together in one readable file."""
