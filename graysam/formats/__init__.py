"""Files that hold cases: the only place that knows their keys, axes and traps."""
