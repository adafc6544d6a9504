"""Scripts that measure, and the results they wrote: every figure in the README names a file of results/."""
