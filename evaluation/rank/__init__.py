"""The leaderboard: tables of scores in, ranks with their uncertainty and one HTML page out.

`read` owns what teams bring, `statistics` the ranks, `page` the HTML, `write` the other files, `examples` the pictures,
and `command` the command line: python -m evaluation.rank --help.
"""
