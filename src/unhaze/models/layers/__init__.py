"""Building blocks that two or more networks share, and the stage runners."""
