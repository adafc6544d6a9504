from collections import Counter

import numpy as np
import pytest

from graysam.store import PackedStore, StoreEntry
from train.config import DataConfig
from train.sampling import BalancedSampler, EpochSampler, build_sampler, choose_objects, generator_for


def entry(modality: str, dataset: str, group: str, *, z: int = -1) -> StoreEntry:
    return StoreEntry(f"{modality}/{dataset}", modality, group, group, "train", z, (4, 4), 0, 1, ((1, 1),))


# Nine CT images of one patient, one CT image of another, one US image.
UNEVEN = [*(entry("CT", "A", "often") for _ in range(9)), entry("CT", "A", "once"), entry("US", "B", "alone")]


def test_modalities_and_patients_are_drawn_evenly_however_many_images_they_have():
    sampler = BalancedSampler(UNEVEN)
    drawn = Counter(UNEVEN[sampler.draw(n, generator_for(0, n))].group for n in range(2000))
    # Half of the draws are US; the other half is shared by the two CT patients.
    assert drawn["alone"] == pytest.approx(1000, abs=100)
    assert drawn["often"] == pytest.approx(500, abs=80)
    assert drawn["once"] == pytest.approx(500, abs=80)


# MR: nine patients' images in one data set, and a volume of three slices in another; CT: one volume.
WITH_VOLUMES = [
    *(entry("MR", "images", str(n)) for n in range(9)),
    *(entry("MR", "volume", "x", z=z) for z in range(3)),
    entry("CT", "volume", "y", z=0),
]


@pytest.mark.parametrize(("volumes", "share"), [(1.0, 1 / 4), (3.0, 3 / 6), (9.0, 9 / 12), (0.0, 0.0)])
def test_data_sets_of_volumes_are_drawn_more_often_than_the_others_of_their_modality(volumes: float, share: float):
    # Roots of the patients: 3 and 1. The modalities keep their halves.
    sampler = BalancedSampler([*WITH_VOLUMES, entry("CT", "images", "z")], volumes=volumes)
    entries = [*WITH_VOLUMES, entry("CT", "images", "z")]
    drawn = Counter(entries[sampler.draw(n, generator_for(0, n))].dataset for n in range(4000))
    assert drawn["MR/images"] + drawn["MR/volume"] == pytest.approx(2000, abs=130)  # standard deviation 32
    assert drawn["MR/volume"] == pytest.approx(2000 * share, abs=130)
    assert drawn["CT/volume"] == pytest.approx(2000 * volumes / (1 + volumes), abs=130)


def test_where_a_modality_has_nothing_but_volumes_the_factor_changes_nothing():
    entries = [entry("CT", "A", "x", z=0), *(entry("CT", "B", str(n), z=0) for n in range(4))]
    drawn = []
    for config in (DataConfig(), DataConfig(volumes=5.0)):
        sampler = build_sampler(entries, config, seed=0)
        drawn.append([sampler.draw(n, generator_for(0, n)) for n in range(50)])
    assert drawn[0] == drawn[1]


def test_the_config_s_factor_reaches_the_sampler():
    sampler = build_sampler(WITH_VOLUMES, DataConfig(volumes=100.0, modality_weights={"CT": 0.0}), seed=0)
    drawn = Counter(WITH_VOLUMES[sampler.draw(n, generator_for(0, n))].dataset for n in range(400))
    assert drawn["MR/volume"] > 360  # 100 of 103


def test_an_epoch_of_the_paper_holds_the_same_number_of_every_modality_and_3d_submodality():
    entries = [entry("MR", "T1", "a", z=0), entry("MR", "T2", "b", z=0), entry("MR", "T2", "b", z=1), *UNEVEN]
    sampler = EpochSampler(entries, images_per_stratum=4, seed=1)
    assert sampler.images_per_epoch == 16  # MR/T1, MR/T2, CT, US
    epoch = [entries[sampler.draw(number, generator_for(1, number))] for number in range(16)]
    assert Counter(each.dataset for each in epoch) == {"MR/T1": 4, "MR/T2": 4, "CT/A": 4, "US/B": 4}


def test_within_an_epoch_no_image_comes_twice_before_all_have_come_once():
    sampler = EpochSampler([entry("CT", "A", str(n)) for n in range(6)], images_per_stratum=6, seed=0)
    first = [sampler.draw(number, generator_for(0, number)) for number in range(6)]
    second = [sampler.draw(number, generator_for(0, number)) for number in range(6, 12)]
    assert sorted(first) == sorted(second) == [0, 1, 2, 3, 4, 5]
    assert first != second


def test_an_image_of_the_epoch_is_a_function_of_its_number_alone():
    entries = [entry("CT", "A", str(n)) for n in range(50)]
    straight = EpochSampler(entries, images_per_stratum=20, seed=3)
    resumed = EpochSampler(entries, images_per_stratum=20, seed=3)
    drawn = [straight.draw(number, generator_for(3, number)) for number in range(60)]
    assert resumed.draw(47, generator_for(3, 47)) == drawn[47]


def test_the_config_chooses_the_sampler(store: PackedStore):
    assert isinstance(build_sampler(store.entries, DataConfig(sampling="paper"), seed=0), EpochSampler)
    assert isinstance(build_sampler(store.entries, DataConfig(), seed=0), BalancedSampler)


def test_objects_repeat_only_when_there_are_too_few():
    rng = np.random.default_rng(0)
    assert sorted(choose_objects(3, 3, rng)) == [0, 1, 2]
    assert len(set(choose_objects(9, 4, rng))) == 4
    assert choose_objects(1, 3, rng) == [0, 0, 0]
