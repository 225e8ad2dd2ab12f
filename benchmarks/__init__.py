"""One command for each table of docs/performance.md: `python -m benchmarks.image`."""
