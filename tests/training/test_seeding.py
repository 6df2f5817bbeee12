"""Keys and reset seeds are functions of the run's seed and of where in the run they are used."""

import itertools

import jax
import numpy as np

from mbpo.training.seeding import Stream, episode_seed, step_keys, stream_key


def data(key) -> tuple[int, ...]:
    return tuple(np.asarray(jax.random.key_data(key)).tolist())


def test_streams_and_seeds_give_different_keys():
    keys = {data(stream_key(seed, stream)) for seed in range(5) for stream in Stream}
    assert len(keys) == 5 * len(Stream)


def test_step_keys_depend_on_the_step_alone():
    run_key = stream_key(3, Stream.STEP)
    forwards = [tuple(map(data, step_keys(run_key, step))) for step in range(20)]
    backwards = [tuple(map(data, step_keys(run_key, step))) for step in reversed(range(20))][::-1]
    assert forwards == backwards
    assert len(set(itertools.chain(*forwards))) == 60  # Three of each step, none used twice.


def test_step_keys_do_not_compile_for_every_step():
    run_key = stream_key(4, Stream.STEP)
    step_keys(run_key, 0)
    before = step_keys._cache_size()
    for step in (1, 1000, 2**31 - 1):
        step_keys(run_key, step)
    assert step_keys._cache_size() == before


def test_episode_seeds_are_fixed_for_ever():
    # A resumed run of an older version resets with these.
    seeds = [episode_seed(0, Stream.TRAINING_EPISODE, index) for index in range(3)]
    assert seeds == [episode_seed(0, Stream.TRAINING_EPISODE, index) for index in range(3)]
    assert seeds == [int(np.random.SeedSequence([0, 3, index]).generate_state(1)[0]) for index in range(3)]


def test_episode_seeds_differ_by_seed_stream_and_index():
    drawn = [
        episode_seed(seed, stream, index)
        for seed in range(20)
        for stream in (Stream.TRAINING_EPISODE, Stream.EVALUATION_EPISODE)
        for index in range(50)
    ]
    assert len(set(drawn)) == len(drawn)
    assert all(0 <= seed < 2**32 for seed in drawn)


def test_evaluations_at_different_steps_start_differently():
    seeds = {episode_seed(0, Stream.EVALUATION_EPISODE, step, episode) for step in (0, 100, 200) for episode in (0, 1)}
    assert len(seeds) == 6
