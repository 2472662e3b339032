"""What a training draws: Philox itself, and orders, masks and initial values by it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

import scratch
from scratch import models
from scratch.philox import FIRST_DROPOUT, VALUES, MaskStream, philox, words

#: Random123's known answers for philox4x32-10: counter, key, and the four words.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip


def tensors(text: str) -> list[Tensor]:
    return [torch.tensor(int(word, 16)) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_known_answers(counter: str, key: str, answer: str) -> None:
    first, second = tensors(key)
    assert [f"{int(w):08x}" for w in philox((first, second), tensors(counter))] == answer.split()


def test_words_are_of_the_counter_that_they_say() -> None:
    seed = 0x299F31D0_A4093822
    (*_, last) = words(torch.tensor(seed), 9, 3, 5, 7)
    drawn = philox((torch.tensor(0xA4093822), torch.tensor(0x299F31D0)), tensors("2 3 5 7"))
    assert last == drawn[0]
    assert words(torch.tensor([1, seed]), 9, 3, 5, 7)[1].equal(
        words(torch.tensor(seed), 9, 3, 5, 7)
    )


def test_orders_are_permutations_each_of_its_own() -> None:
    draws = scratch.Draws([3, 4])
    orders = [*draws.order(1, 50), *draws.order(2, 50), scratch.Draws(5).order(1, 50)]
    assert all(order.sort().values.equal(torch.arange(50)) for order in orders)
    assert len({tuple(order.tolist()) for order in orders}) == len(orders)
    assert scratch.Draws(4).order(2, 50).equal(draws.order(2, 50)[1])
    first = [int(scratch.Draws(seed).order(1, 10)[0]) for seed in range(2000)]
    assert stats.chisquare(torch.tensor(first).bincount(minlength=10)).pvalue > 1e-4


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
def test_masks_drop_at_the_rate_and_scale_what_is_left(p: float) -> None:
    masks = scratch.Draws(range(3)).masks(p, 1, range(40), 0, (25, 20))
    assert masks.shape == (40, 3, 25, 20)
    kept = masks != 0
    assert stats.binomtest(int(kept.sum()), kept.numel(), 1 - p).pvalue > 1e-4
    assert torch.equal(masks[kept], torch.full_like(masks[kept], 1 / (1 - p) if p < 1 else 0))


def test_masks_are_independent_and_depend_on_nothing_else() -> None:
    draws = scratch.Draws(7)
    one = draws.masks(0.5, 2, range(4, 5), 1, (10, 8))
    assert draws.masks(0.5, 2, range(6), 1, (10, 8))[4:5].equal(one)
    assert scratch.Draws([1, 7]).masks(0.5, 2, range(4, 5), 1, (10, 8))[:, 1].equal(one)
    assert draws.masks(0.5, 2, range(4, 5), 1, (3, 8)).equal(one[:, :3]), "a smaller batch"
    others: list[dict[str, Any]] = [
        {"epoch": 3}, {"steps": range(5, 6)}, {"dropout": 0},
    ]  # fmt: skip
    same: dict[str, Any] = {"epoch": 2, "steps": range(4, 5), "dropout": 1}
    for other in others:
        assert not draws.masks(0.5, shape=(10, 8), **(same | other)).equal(one)


def test_a_word_at_the_bound_is_dropped() -> None:
    word = int(words(torch.tensor(7), 1, 0, 1, FIRST_DROPOUT))
    p = 1 - word / 2**32
    assert scratch.Draws(7).masks(p, 1, range(1), 0, (1, 1)) == 0
    assert scratch.Draws(7).masks(p - 2**-32, 1, range(1), 0, (1, 1)) != 0


def test_masks_have_the_digits_of_their_dtype() -> None:
    draws, x = scratch.Draws(7), torch.ones(2, 3, dtype=torch.float64)
    stream = MaskStream(draws, 0, 2)
    stream.begin(1, 1)
    for masks in (draws.masks(0.3, 1, range(1), 0, (2, 3), x.dtype)[0], stream.next(0.3, x)):
        assert masks.dtype == torch.float64
        assert masks.max() == 1 / (1 - 0.3)
    assert draws.masks(1.0, 1, range(1), 0, (2, 3)).dtype == torch.float32


def test_a_stream_draws_many_steps_at_once_and_no_other_masks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draws, x = scratch.Draws([1, 2]), torch.ones(2, 10, 6)
    every = draws.masks(0.5, 3, range(7), 2, (10, 6))
    for words_at_once in (1, 500, 1 << 18):
        monkeypatch.setattr("scratch.philox._CHUNK", words_at_once)
        stream = MaskStream(draws, 2, 10)
        stream.begin(3, 7)
        for step in range(6):
            assert stream.next(0.5, x).equal(every[step])
        assert stream.next(0.5, x[:, :4]).equal(every[6, :, :4])


def test_initial_values_are_distributed_and_those_of_the_seed() -> None:
    uniform = scratch.Linear(100, 60, generator=scratch.Philox(3))
    assert stats.kstest(uniform.weight.flatten() * 10, "uniform", (-1, 2)).pvalue > 1e-4
    normal = scratch.Linear(100, 60, init="normal", generator=scratch.Philox(3))
    assert stats.kstest(normal.weight.flatten(), "norm").pvalue > 1e-4
    xavier = scratch.Linear(100, 60, init="xavier_normal", generator=scratch.Philox(3))
    torch.testing.assert_close(xavier.weight, normal.weight * (2 / 160) ** 0.5)
    again = scratch.Linear(100, 60, generator=scratch.Philox(3), dtype=torch.float64)
    assert again.weight.float().equal(uniform.weight)
    first, second = (models.model_2(generator=scratch.Philox(seed)).state_dict() for seed in (0, 1))
    assert not first["0.weight"].equal(second["0.weight"])
    assert not first["2.weight"].equal(first["5.weight"])


def test_initial_values_are_of_two_words_each_and_draws_of_their_own() -> None:
    source, seed = scratch.Philox(11), torch.tensor(11)
    drawn = [source.uniform(2, 3), source.uniform(2, 3)]
    for draw, values in enumerate(drawn):
        pairs = words(seed, 12, 0, draw, VALUES).tolist()
        wholes = [
            (high << 21 | low >> 11) for high, low in zip(pairs[::2], pairs[1::2], strict=True)
        ]
        assert values.flatten().tolist() == [whole / 2**53 for whole in wholes]
    again = scratch.Philox(11)
    radius = (-2 * (1 - again.uniform(5)).log()).sqrt()
    due = radius * (2 * torch.pi * again.uniform(5)).cos()
    torch.testing.assert_close(scratch.Philox(11).normal(5), due)


@pytest.mark.parametrize("seed", [2**64, -(2**63) - 1, 1.0, True, "1"])
def test_a_seed_is_an_integer_of_64_bits(seed: Any) -> None:
    for make in (scratch.Philox, lambda one: scratch.Draws([one])):
        with pytest.raises(ValueError, match="a seed is an integer from"):
            make(seed)


def test_seeds_of_64_bits_differ() -> None:
    seeds = [0, 1, 2**32, 2**63, 2**64 - 1, -(2**63)]
    firsts = {int(words(scratch.Draws(seed).seeds, 1, 0, 0, FIRST_DROPOUT)) for seed in seeds}
    assert len(firsts) == 5, "2^63 and -2^63 are the same 64 bits"
