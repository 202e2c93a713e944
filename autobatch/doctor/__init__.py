"""What was found on this machine, what would be used of it, and what to do about each warning."""
