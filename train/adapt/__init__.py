"""`graysam adapt`: the weights fine-tuned on somebody's own labelled cases, and a page that says whether it helped.

In the order of a run: `cases` reads and packs them, `folds` keeps patients apart, `recipe` says what is trained and
how, `fit` trains one model, `judge` compares models, `run` does it all and goes on where it was stopped, `outcome` is
what it came to, `report` writes the page, and `command` is the command line.
"""
