"""What stands behind the benchmarks: their list, the run of all of them, and the pages made of their results."""
