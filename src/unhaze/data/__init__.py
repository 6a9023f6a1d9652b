"""Pictures to train and to validate on."""
