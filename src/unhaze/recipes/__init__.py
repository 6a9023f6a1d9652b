"""Published training procedures, one readable file each, and the presets that fill in their settings."""
