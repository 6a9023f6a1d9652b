"""From a picture to a picture: the dehazer, the view, the haze field, strips, tiles, options and engines."""
