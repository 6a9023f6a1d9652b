"""Running networks of the catalogue on pictures, and what that costs. Needs torch.

``unhaze.inference`` finds :class:`unhaze.neural.engine.TorchEngine` by its name only, so that it works without torch.
"""
