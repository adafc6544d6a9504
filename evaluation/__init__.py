"""Scores label maps: overlap, surface agreement, runtime, ranks and reports.

The formulas (`dice`, `surface_dice`) know nothing of files; `policy` decides what an empty or missing mask is
worth; `score` reads folders and writes tables.
"""
