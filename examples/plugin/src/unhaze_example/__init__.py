"""What another package can add to unhaze; ``pyproject.toml`` names it."""
