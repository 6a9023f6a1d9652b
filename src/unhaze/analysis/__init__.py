"""Studies of what networks and depth estimators do with haze."""
