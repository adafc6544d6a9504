"""Objects that a teacher finds on training slices, beside those that people labelled.

    python -m train.pseudo --teacher weights/litemedsam --store store/all.store --out pseudo

As in the data engine of SAM (Kirillov et al. 2023), a teacher is prompted with many boxes on every slice, and those of
its masks are kept that are stable. `boxes` proposes the boxes, `keep` judges the answers, `order` says which slice is
visited when, `trust` which data sets are left out, `shards` is the files, `maker` does the work, and `pages` draws what
was kept. `soft` is what the teacher says of labelled objects. Training draws by `data.pseudo` and `data.soft`, see
docs/train.md.
"""
