"""Running networks of the catalogue on pictures, and what that costs. Needs torch.

``unhaze.restore`` finds :class:`unhaze.restore.engines.torch.TorchEngine` by its name only, so that it works without torch.
"""
