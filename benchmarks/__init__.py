"""What the daemon costs, and how good it is, in figures with goals: ``make bench``. docs/benchmarks.md."""
