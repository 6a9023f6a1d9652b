"""The model that ships and runs by default: all of it in one room, from its scenes to its weights."""
