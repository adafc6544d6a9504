"""Scores label maps: overlap, surface agreement, runtime, ranks and reports.

Data goes from files (`labels`, `score`) through formulas that know nothing of files (`dice`, `surface_dice`, `surfels`;
listed in `metrics`) to tables (`tables`) and the leaderboard (`rank`). `policy` decides what an empty or missing mask
is worth. `runtime` times a method, `package` packs for CodaBench, and `prompts` has the validation prompts of training.
"""
