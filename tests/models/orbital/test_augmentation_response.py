"""Response of the augmentation occupancies to a change of the density."""

import pytest

torch = pytest.importorskip("torch", reason="needs the models extra")

from mlcharge_flows.density.augmentation import blocks, n_occupancies  # noqa: E402
from mlcharge_flows.models.orbital.augmentation_response import (  # noqa: E402
    N_EXPONENTS,
    AugmentationResponse,
)

CHANNELS = {"O": (0, 0, 1, 1), "Ce": (0, 3)}
RESPONSE_LMAX, N_IONS = 2, 90


def response():
    torch.manual_seed(4)
    return AugmentationResponse(list(CHANNELS), CHANNELS, RESPONSE_LMAX)


def projections():
    return torch.randn(N_IONS, (RESPONSE_LMAX + 1) ** 2, N_EXPONENTS)


def test_nothing_changes_before_any_fit():
    changes = response()(projections(), torch.zeros(N_IONS, dtype=torch.long))
    assert {len(occupancies) for occupancies in changes} == {n_occupancies(CHANNELS["O"])}
    assert not any(occupancies.any() for occupancies in changes)


@pytest.mark.parametrize("species", [0, 1])
def test_a_linear_response_is_recovered(species):
    """Occupancies that follow from the density linearly are fitted exactly."""
    teacher, pupil = response(), response()
    torch.nn.init.normal_(getattr(teacher, f"response_{species}")[:-1])
    of = torch.full((N_IONS,), species)
    seen, unseen = projections(), projections()
    pupil.fit(species, seen, torch.stack(teacher(seen, of)))
    expected, found = (torch.stack(head(unseen, of)) for head in (teacher, pupil))
    assert expected.norm() > 1
    assert (found - expected).norm() < 1e-3 * expected.norm()


def test_degrees_beyond_the_orbitals_stay():
    pupil = response()
    changes = torch.ones(N_IONS, n_occupancies(CHANNELS["Ce"]))
    pupil.fit(1, projections(), changes)
    (occupancies, *_) = pupil(projections(), torch.ones(N_IONS, dtype=torch.long))
    beyond = pupil.block_1 == len(pupil.response_1) - 1
    assert beyond.any()
    assert not occupancies[beyond].any()
    assert occupancies[~beyond].any()


def test_ions_without_a_change_of_the_density_leave_the_response():
    pupil = response()
    pupil.fit(0, torch.zeros_like(projections()), torch.ones(N_IONS, n_occupancies(CHANNELS["O"])))
    assert not pupil.response_0.any()


@pytest.mark.parametrize("species", [0, 1])
def test_the_mean_of_an_element_is_spherical(species):
    """Only invariants have a mean over all orientations."""
    pupil, channels = response(), list(CHANNELS.values())[species]
    changes = torch.randn(N_IONS, n_occupancies(channels)) + 2
    pupil.fit(species, projections(), changes)
    first, other = pupil.element_means(torch.tensor([species, species]))
    assert torch.equal(first, other)
    entries = [entry.L == 0 for entry in blocks(channels) for _ in range(2 * entry.L + 1)]
    spherical = torch.tensor(entries)
    torch.testing.assert_close(first[spherical], changes[:, spherical].mean(0))
    assert not first[~spherical].any()


def test_changes_are_measured_by_the_largest_that_was_fitted():
    pupil = response()
    changes = torch.randn(N_IONS, n_occupancies(CHANNELS["O"]))
    pupil.fit(0, projections(), changes)
    excesses = [pupil.relative_change(0, change) for change in changes]
    assert max(excesses) == pytest.approx(1.0)
    assert pupil.relative_change(0, -3 * changes[7]) == pytest.approx(3 * excesses[7])
