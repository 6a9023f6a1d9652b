"""How the data sets of the literature lie on disk, one table each."""
