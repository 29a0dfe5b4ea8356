"""Samplers: draws have the expected distribution, and a paused run continues with its batches."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from methods.sampling import DRAWS, ClusterSampler, shares
from utils import Rng


@pytest.fixture
def sampler_of(uneven):
    """Return (sampler, clusters of class 0) with clusters of 100, 40 and 10 members."""
    data, _ = uneven
    members = data.indices_class[0].tolist()
    clusters = {c: {0: index.tolist()} for c, index in enumerate(data.indices_class)}
    clusters[0] = {0: members[:100], 1: members[100:140], 2: members[140:]}
    return lambda draw, mix=None: ClusterSampler(data, clusters, draw, mix), clusters[0]


@pytest.mark.parametrize(
    ('draw', 'expected'), [('cluster', [1 / 3] * 3), ('proportional', [100, 40, 10])]
)
def test_one_cluster_with_the_expected_frequency(sampler_of, draw, expected):
    make, clusters = sampler_of
    sampler, rng, counts = make(draw), Rng('cpu', 0), np.zeros(3)
    for _ in range(900):
        index = set(sampler.draw(0, 32, rng).tolist())
        (chosen,) = [j for j, part in clusters.items() if index <= set(part)]
        assert len(index) == min(32, len(clusters[chosen]))
        counts[chosen] += 1
    expected = np.array(expected) / np.sum(expected) * 900
    assert chisquare(counts, expected).pvalue > 0.001


def test_members_of_a_cluster_are_drawn_evenly(sampler_of):
    make, clusters = sampler_of
    sampler, rng, counts = make('cluster'), Rng('cpu', 1), np.zeros(100)
    for _ in range(2000):
        index = sampler.draw(0, 10, rng)
        if int(index[0]) in clusters[0]:
            counts[[clusters[0].index(int(i)) for i in index]] += 1
    assert chisquare(counts).pvalue > 0.001


def test_stratified_shares_are_exact(sampler_of):
    make, clusters = sampler_of
    index = make('stratified').draw(0, 30, Rng('cpu', 0)).tolist()
    assert [len(set(index) & set(part)) for part in clusters.values()] == [20, 8, 2]
    assert len(set(index)) == 30
    assert shares([100, 40, 10], 31) == [21, 8, 2] and shares([3, 3], 100) == [3, 3]
    for num in range(1, 150):
        assert sum(shares([100, 40, 10], num)) == num


def test_the_least_of_a_share_costs_the_largest():
    assert shares([98, 1, 1], 10, least=1) == [8, 1, 1]
    assert shares([5, 5, 5], 2, least=1) == [1, 1, 1]
    sizes = [3, 50, 1, 8, 38]
    for num in range(5, 101):
        parts = shares(sizes, num, least=1)
        assert sum(parts) == num and min(parts) == 1


def test_centroid_takes_the_nearest_of_every_cluster(sampler_of):
    make, clusters = sampler_of
    assert (
        make('centroid').draw(0, 15, Rng('cpu', 0)).tolist()
        == clusters[0][:10] + clusters[1][:4] + clusters[2][:1]
    )
    assert len(make('centroid').draw(0, 2, Rng('cpu', 0))) == 2


def test_equal_batch_has_the_sizes_of_cluster_but_draws_from_the_whole_class(sampler_of):
    make, _ = sampler_of
    draws = {
        name: [make(name).draw(0, 64, rng) for rng in (Rng('cpu', i) for i in range(60))]
        for name in ('cluster', 'equal')
    }
    assert [len(index) for index in draws['equal']] == [len(index) for index in draws['cluster']]
    assert len(torch.cat(draws['equal']).unique()) == 150


def test_mix_switches_to_uniform_batches(sampler_of):
    make, clusters = sampler_of
    sampler, rng = make('cluster', 300), Rng('cpu', 0)
    early = set(sampler.draw(0, 10, rng, 300).tolist())
    assert any(early <= set(part) for part in clusters.values())
    later = torch.cat([sampler.draw(0, 10, rng, 301) for _ in range(50)]).tolist()
    assert all(set(later) & set(part) for part in clusters.values())
    assert len(sampler.draw(0, 140, rng, 301)) == 140  # more than any cluster has


@pytest.mark.parametrize('draw', [*DRAWS, 'equal'])
def test_every_draw_is_of_the_class_without_repetition(sampler_of, uneven, draw):
    make, _ = sampler_of
    for num in (1, 7, 500):
        index = make(draw).draw(0, num, Rng('cpu', num))
        assert (
            len(index.unique()) == len(index) <= num and (uneven[0].labels_train[index] == 0).all()
        )


def test_a_paused_bs_iteration_goes_on_with_the_same_batches(make_method, uneven):
    data, _ = uneven
    clusters = {
        c: dict(enumerate(part.tolist() for part in index.chunk(3)))
        for c, index in enumerate(data.indices_class)
    }
    # The last iteration sees uniform batches.
    sampler = ClusterSampler(data, clusters, 'cluster', mix=1)
    straight, paused = (make_method(data=data, sampler=sampler, outer_loop=2) for _ in range(2))
    expected = [straight.step() for _ in range(3)]
    logs = []
    while len(logs) < 3:
        log = paused.step(pause=lambda: True)
        state = paused.state_dict()
        paused = make_method(data=data, sampler=sampler, outer_loop=2, seed=9)
        paused.load_state_dict(state)
        logs += [log] if log else []
    assert logs == expected and torch.equal(paused.image_syn, straight.image_syn)
