"""Samples of large crystals: sums by Fourier transforms change neither losses nor errors."""

import pytest

pytest.importorskip("h5py", reason="needs the train extra")
torch = pytest.importorskip("torch", reason="needs the models extra")

from synthetic_samples import packed  # noqa: E402

from mlcharge_flows.models.orbital.boxed_vectors import BoxedGVectors  # noqa: E402
from mlcharge_flows.models.orbital.elements import FormFactorFit  # noqa: E402
from mlcharge_flows.models.orbital.g_vectors import GVectors  # noqa: E402
from mlcharge_flows.training import orbital, orbital_sample  # noqa: E402
from mlcharge_flows.training.config import TrainingConfig  # noqa: E402
from mlcharge_flows.training.dataset import write_dataset  # noqa: E402

MODEL = {
    "n_channels": 6,
    "n_hidden": 8,
    "n_embedding": 4,
    "lmax": 2,
    "cutoff": 4.0,
    "g_max": 16.0,
    "form_factors": True,
}


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    """The task of one training with direct sums and with transforms, and its samples."""
    dataset = write_dataset(
        tmp_path / "data.h5",
        [packed(f"mp-{n}", seed=n, a=3.6 + 0.1 * n, split="train") for n in range(2)],
    )

    def made(most_direct, thinning):
        for module in (orbital, orbital_sample):
            monkeypatch.setattr(module, "MAX_DIRECT_SITES", most_direct)
        loss = {"coefficients": 1.0, "shells": 1.0, "grid": 1.0, "thinning": thinning}
        config = TrainingConfig(name="small", data=dataset.path, model=MODEL, loss=loss)
        torch.manual_seed(0)
        task = orbital.OrbitalTask(config, dataset, torch.device("cpu"))
        torch.nn.init.normal_(task.network.readout, std=0.1)
        samples = [task.prepare(sample) for sample in dataset]
        torch.manual_seed(1)
        return task, samples, task.initialize(samples)

    return made


@pytest.mark.parametrize("thinning", [1, 4])
def test_losses_gradients_and_errors_are_those_of_direct_sums(tasks, thinning):
    found = []
    for most_direct, kind in ((1000, GVectors), (0, BoxedGVectors)):
        task, samples, training = tasks(most_direct, thinning)
        assert {type(sample.g_vectors) for sample in (*samples, *training)} == {kind}
        terms = task.losses(task.network, training)
        terms["loss"].backward()
        gradients = torch.cat([p.grad.flatten() for p in task.network.parameters()])
        with torch.no_grad():
            errors = [task.errors(task.network, sample) for sample in samples]
        fit = FormFactorFit(task.network.form_factors)
        for sample in training:
            ions = sample.graph.species[: sample.graph.n_ions[0]]
            fit.add(ions, sample.g_vectors, sample.phases[: len(ions)], sample.target)
        found.append((terms, gradients, errors, fit.gram))
    (terms, gradients, errors, gram), (terms_2, gradients_2, errors_2, gram_2) = found
    for name, term in terms.items():
        torch.testing.assert_close(terms_2[name], term, rtol=1e-4, atol=0)
    assert (gradients_2 - gradients).norm() < 1e-4 * gradients.norm()
    for one, other in zip(errors, errors_2, strict=True):
        assert other == pytest.approx(one, rel=1e-3)
    assert (gram_2 - gram).norm() < 1e-4 * gram.norm()


def test_a_loss_of_few_g_vectors_takes_direct_sums(tasks, monkeypatch):
    task, (sample, _), _ = tasks(0, 4)
    losses = []
    for most_direct, kind in ((0, BoxedGVectors), (len(sample.graph.positions) - 0.1, GVectors)):
        for module in (orbital, orbital_sample):
            monkeypatch.setattr(module, "MAX_DIRECT_SITES", most_direct)
        torch.manual_seed(2)  # the same G vectors
        few = orbital.thinned(sample, 16)
        assert type(few.g_vectors) is kind
        losses.append(task.losses(task.network, [few])["loss"])
    assert type(sample.g_vectors) is BoxedGVectors
    torch.testing.assert_close(*losses, rtol=1e-4, atol=0)
