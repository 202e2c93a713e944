"""What a probe and a run have found and done, as values."""
