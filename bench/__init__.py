"""How fast the house is, told as ratios: `python -m bench` measures, docs/benchmarks.md keeps a run."""
