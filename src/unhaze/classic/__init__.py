"""Models that find haze by a rule, without training: one file each."""
