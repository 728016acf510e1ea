"""What benchmarks share: finding and reading their rows, options and letters, grading."""
