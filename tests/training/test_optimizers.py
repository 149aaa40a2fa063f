"""Muon, compared with a singular value decomposition and with torch's for a single matrix."""

import pytest

torch = pytest.importorskip("torch", reason="needs the models extra")

from mlcharge_flows.models.orbital.config import OrbitalConfig  # noqa: E402
from mlcharge_flows.models.orbital.network import OrbitalNetwork  # noqa: E402
from mlcharge_flows.training.config import TrainingConfig  # noqa: E402
from mlcharge_flows.training.optimizers import Muon, optimizers_of, orthogonal  # noqa: E402


@pytest.mark.parametrize("shape", [(6, 6), (3, 8), (8, 3), (2, 5, 7, 4)])
def test_singular_values_approach_one_and_singular_vectors_are_kept(shape):
    matrices = torch.randn(shape, generator=torch.manual_seed(0), dtype=torch.float64)
    left, values, right = torch.linalg.svd(matrices, full_matrices=False)
    inner = left.mT @ orthogonal(matrices) @ right.mT
    diagonal = inner.diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(inner, torch.diag_embed(diagonal), rtol=0, atol=1e-10)
    well = values > 0.1 * values[..., :1]
    assert ((diagonal > 0.6) & (diagonal < 1.3))[well].all()


def test_a_single_matrix_is_updated_as_by_torch():
    """To the half precision of torch's 15 products, of which each rounds to 2^-9."""
    weights = []
    for made in (
        lambda p: Muon([p], lr=0.02, weight_decay=0.1),
        lambda p: torch.optim.Muon(
            [p], lr=0.02, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"
        ),
    ):
        draw = torch.manual_seed(1)
        weight = torch.nn.Parameter(torch.randn(12, 20, generator=draw))
        optimizer = made(weight)
        for _ in range(5):
            weight.grad = torch.randn(12, 20, generator=draw)
            optimizer.step()
        weights.append(weight.detach())
    begun = torch.randn(12, 20, generator=torch.manual_seed(1))
    apart = torch.linalg.matrix_norm(weights[0] - weights[1])
    assert apart < 15 * 2**-9 * torch.linalg.matrix_norm(weights[0] - begun)


def test_a_stack_is_updated_as_its_matrices():
    draw = torch.manual_seed(2)
    values, gradient = torch.randn(2, 3, 4, 5, generator=draw)
    stack = torch.nn.Parameter(values.clone())
    alone = [torch.nn.Parameter(matrix.clone()) for matrix in values]
    stack.grad = gradient
    for weight, own in zip(alone, gradient, strict=True):
        weight.grad = own
    Muon([stack], lr=0.1, weight_decay=0.0).step()
    Muon(alone, lr=0.1, weight_decay=0.0).step()
    torch.testing.assert_close(stack.detach(), torch.stack(alone).detach())


def test_every_weight_belongs_to_one_optimizer():
    network = OrbitalNetwork(OrbitalConfig(elements=["Na"], channels={"Na": [0, 1]}, lmax=1))
    config = TrainingConfig(name="demo", data="d.h5", optimizer="muon", learning_rate=0.01)
    optimizers = optimizers_of(network, config)
    mine = [w for o in optimizers for group in o.param_groups for w in group["params"]]
    assert sorted(map(id, mine)) == sorted(map(id, network.parameters()))
    others = {id(w) for w in optimizers[1].param_groups[0]["params"]}
    assert id(network.embedding.learned.weight) in others
    assert all(id(w) in others for w in network.parameters() if w.ndim == 1)
    assert {group["lr"] for o in optimizers for group in o.param_groups} == {0.01}
