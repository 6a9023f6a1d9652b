"""Hazy pictures made from clear ones: scenes, rooms, nights, and the data set of them."""
