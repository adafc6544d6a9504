import numpy as np
from drawn_slices import disc
from hypothesis import given, settings
from hypothesis import strategies as st

from train.tracks import Place, link_tracks


def bar(first: int, stop: int, size: tuple[int, int] = (6, 20)) -> np.ndarray:
    """Columns `first` to `stop` of a slice, over its whole height."""
    mask = np.zeros(size, bool)
    mask[:, first:stop] = True
    return mask


def places(*pairs: tuple[int, int]) -> tuple[Place, ...]:
    return tuple(Place(*pair) for pair in pairs)


def test_two_objects_are_followed_over_three_slices_whatever_their_order_and_the_entries_numbers():
    slices = [
        (0, 7, [disc(12, 15, 8), disc(33, 30, 10)]),
        (1, 3, [disc(33, 28, 9), disc(14, 15, 8)]),
        (2, 9, [disc(15, 16, 7), disc(32, 27, 8)]),
    ]
    tracks = link_tracks(slices)
    first, second = places((7, 0), (3, 1), (9, 0)), places((7, 1), (3, 0), (9, 1))
    assert tracks == {**dict.fromkeys(first, first), **dict.fromkeys(second, second)}


def test_an_object_of_one_slice_is_a_track_of_its_own():
    tracks = link_tracks([(4, 0, [bar(0, 5)]), (5, 1, [bar(0, 5), bar(10, 15)]), (6, 2, [bar(0, 5)])])
    assert tracks[Place(1, 1)] == places((1, 1))
    assert tracks[Place(0, 0)] == places((0, 0), (1, 0), (2, 0))


def test_a_slice_without_the_object_closes_its_track():
    tracks = link_tracks([(0, 0, [bar(0, 5)]), (1, 1, [bar(10, 15)]), (2, 2, [bar(0, 5)])])
    assert all(track == (place,) for place, track in tracks.items())
    assert len(tracks) == 3


def test_a_slice_that_is_not_there_closes_all_tracks():
    tracks = link_tracks([(0, 0, [bar(0, 5)]), (1, 1, [bar(0, 5)]), (3, 2, [bar(0, 5)]), (4, 3, [bar(0, 5)])])
    assert set(tracks.values()) == {places((0, 0), (1, 0)), places((2, 0), (3, 0))}


def test_where_an_object_splits_one_branch_goes_on_and_the_other_is_a_new_track():
    # 8 of the 8 columns of the left branch lie under the trunk, and 6 of the 7 of the right one.
    slices = [(0, 0, [bar(2, 16)]), (1, 1, [bar(10, 17), bar(2, 10)]), (2, 2, [bar(11, 18), bar(1, 9)])]
    tracks = link_tracks(slices)
    assert set(tracks.values()) == {places((0, 0), (1, 1), (2, 1)), places((1, 0), (2, 0))}


def test_where_two_objects_merge_only_one_goes_on():
    # The merged bar covers the right one wholly, and all but one column of the left one.
    tracks = link_tracks([(0, 0, [bar(0, 8), bar(10, 17)]), (1, 1, [bar(1, 17)])])
    assert set(tracks.values()) == {places((0, 0)), places((0, 1), (1, 0))}


def test_the_smaller_of_two_masks_must_lie_half_under_the_other():
    # 5 of the 10 columns lie under the other; then 4 of 10.
    assert set(link_tracks([(0, 0, [bar(0, 10)]), (1, 1, [bar(5, 15)])]).values()) == {places((0, 0), (1, 0))}
    assert len(set(link_tracks([(0, 0, [bar(0, 10)]), (1, 1, [bar(6, 16)])]).values())) == 2
    # A thin end of a thick object: 2 of 2 columns.
    assert set(link_tracks([(0, 0, [bar(0, 18)]), (1, 1, [bar(3, 5)])]).values()) == {places((0, 0), (1, 0))}


def test_slices_of_different_sizes_are_not_linked():
    tracks = link_tracks([(0, 0, [bar(0, 5)]), (1, 1, [bar(0, 5, (6, 21))]), (2, 2, [bar(0, 5, (6, 21))])])
    assert set(tracks.values()) == {places((0, 0)), places((1, 0), (2, 0))}


def test_a_volume_without_slices_has_no_tracks():
    assert link_tracks([]) == {}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 2),  # to the next slice
            st.lists(st.tuples(st.integers(0, 18), st.integers(1, 12)), min_size=1, max_size=4),
        ),
        max_size=6,
    )
)
def test_every_place_is_in_exactly_one_track_of_one_place_a_slice_without_gaps(drawn):
    slices, z = [], 0
    for entry, (step, bars) in enumerate(drawn):
        z += step
        slices.append((z, 10 + entry, [bar(first, first + width) for first, width in bars]))
    tracks = link_tracks(slices)
    every = {Place(entry, item) for _, entry, masks in slices for item in range(len(masks))}
    assert set(tracks) == every
    assert sorted(place for track in set(tracks.values()) for place in track) == sorted(every)
    z_of = {entry: z for z, entry, _ in slices}
    for place, track in tracks.items():
        assert place in track
        heights = [z_of[each.entry] for each in track]
        assert heights == list(range(heights[0], heights[0] + len(track)))
