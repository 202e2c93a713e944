"""The largest safe batch size, found by trials and proven before training."""
