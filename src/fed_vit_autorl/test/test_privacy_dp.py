"""Differential privacy: calibration, noise and accounting against independent implementations; overspending refused."""

import multiprocessing
import sqlite3

import numpy as np
import pytest
import torch
from dp_accounting import GaussianDpEvent
from dp_accounting.pld import PLDAccountant
from scipy import stats
from torch.utils.data import DataLoader, TensorDataset

from fed_vit_autorl.federated.pipeline import Pipeline
from fed_vit_autorl.federated.refusal import ConfigurationRefused
from fed_vit_autorl.federated.strategies import STRATEGIES
from fed_vit_autorl.federated.update import Layout, Update, UpdateMetadata
from fed_vit_autorl.privacy.calibration import gaussian_delta, gaussian_sigma
from fed_vit_autorl.privacy.dpsgd import make_private
from fed_vit_autorl.privacy.ledger import PrivacyLedger, epsilon_of
from fed_vit_autorl.privacy.local_dp import LocalDP
from fed_vit_autorl.privacy.mechanisms import noise_multiplier
from fed_vit_autorl.privacy.noise import gaussian, laplace
from fed_vit_autorl.privacy.refusal import PrivacyReason, PrivacyRefused
from fed_vit_autorl.privacy.release import Release


def reason_of(call, *arguments, **options):
    with pytest.raises(PrivacyRefused) as refused:
        call(*arguments, **options)
    return refused.value.reason


class TestCalibration:
    @pytest.mark.parametrize("epsilon", [0.1, 1.0, 5.0, 20.0])
    def test_sigma_gives_the_epsilon_back_in_another_accountant(self, epsilon):
        # PLD rounds ε up by its discretisation (1e-4).
        accountant = PLDAccountant().compose(GaussianDpEvent(gaussian_sigma(epsilon, 1e-5)))
        assert accountant.get_epsilon(1e-5) == pytest.approx(epsilon, rel=2e-3)

    def test_less_noise_than_the_classical_formula_where_that_holds(self):
        classical = np.sqrt(2 * np.log(1.25 / 1e-5)) / 0.5
        assert gaussian_sigma(0.5, 1e-5) < 0.9 * classical

    def test_delta_of_sigma_is_not_above_the_budget_and_scales_with_sensitivity(self):
        sigma = gaussian_sigma(1.0, 1e-5, sensitivity=7.0)
        assert sigma == pytest.approx(7 * gaussian_sigma(1.0, 1e-5))
        assert 0.999e-5 < gaussian_delta(sigma, 1.0, 7.0) <= 1e-5

    @pytest.mark.parametrize(("epsilon", "delta", "sensitivity"), [(0, 1e-5, 1), (1, 0, 1), (1, 1, 1), (1, 1e-5, 0)])
    def test_impossible_budgets_are_refused(self, epsilon, delta, sensitivity):
        assert reason_of(gaussian_sigma, epsilon, delta, sensitivity) == PrivacyReason.BAD_PARAMETER

    @pytest.mark.parametrize(("epsilon", "rounds"), [(1.0, 1000), (8.0, 3), (100.0, 1)])
    def test_noise_for_a_number_of_rounds_spends_the_budget_and_no_more(self, epsilon, rounds):
        spent = epsilon_of([Release(noise_multiplier(epsilon, 1e-5, rounds), steps=rounds)], 1e-5)
        assert 0.99 * epsilon < spent <= epsilon


class TestNoise:
    def test_gaussian_passes_a_goodness_of_fit_test(self):
        draws = gaussian(200_000, 3.0)
        assert stats.kstest(draws, "norm", (0, 3.0)).pvalue > 1e-4
        assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 0.012

    def test_laplace_passes_a_goodness_of_fit_test(self):
        assert stats.kstest(laplace((500, 400), 2.0).reshape(-1), "laplace", (0, 2.0)).pvalue > 1e-4

    def test_no_two_calls_are_alike_whatever_seeds_were_set(self):
        np.random.seed(0)  # noqa: NPY002
        torch.manual_seed(0)
        first = gaussian(10, 1.0)
        np.random.seed(0)  # noqa: NPY002
        torch.manual_seed(0)
        assert not np.isin(first, gaussian(10, 1.0)).any()


class TestLedger:
    @pytest.mark.parametrize(
        ("rate", "noise", "steps", "rdp", "pld"),
        [(0.01, 1, 1000, 2.1014, 1.8282), (0.1, 1, 100, 7.9039, 7.0466), (1, 5, 100, 10.7255, 9.9973)],
    )
    def test_published_figures(self, rate, noise, steps, rdp, pld):
        release = Release(noise, rate, steps)
        assert epsilon_of([release], 1e-5, "rdp") == pytest.approx(rdp, abs=1e-4)
        assert epsilon_of([release], 1e-5, "pld") == pytest.approx(pld, abs=1e-4)

    def test_an_overspend_is_refused_before_it_happens_and_survives_restarts(self, tmp_path):
        path, release = tmp_path / "ledger.sqlite", Release(noise_multiplier=20.0)
        authorised = 0
        while (foretold := PrivacyLedger(path).epsilon_after(release)) <= 1.0:
            # A restart before every round.
            assert PrivacyLedger(path).authorise(f"round-{authorised}", release) == pytest.approx(foretold)
            authorised += 1
        assert reason_of(PrivacyLedger(path).authorise, "one too many", release) == PrivacyReason.BUDGET_EXCEEDED
        # Gaussian DP composes as σ/√n: the RDP bound never allows more rounds than the exact curve.
        exact = max(n for n in range(1, 100) if gaussian_delta(20 / np.sqrt(n), 1.0) <= 1e-5)
        assert 0.7 * exact <= authorised <= exact
        assert PrivacyLedger(path).spent() <= 1.0

    def test_a_round_that_asks_again_after_a_restart_pays_once(self, tmp_path):
        ledger = PrivacyLedger(tmp_path / "ledger", epsilon=10.0)
        first = ledger.authorise("round-1", Release(2.0))
        assert ledger.authorise("round-1", Release(2.0)) == first == ledger.spent()
        assert reason_of(ledger.authorise, "round-1", Release(1.0)) == PrivacyReason.ALREADY_SPENT

    def test_a_refused_round_spends_nothing(self, tmp_path):
        ledger = PrivacyLedger(tmp_path / "ledger", epsilon=1.0)
        assert reason_of(ledger.authorise, "round-1", Release(0.5)) == PrivacyReason.BUDGET_EXCEEDED
        assert ledger.spent() == 0

    def test_the_budget_of_a_ledger_cannot_be_raised_by_opening_it(self, tmp_path):
        PrivacyLedger(tmp_path / "ledger", epsilon=1.0).close()
        assert reason_of(PrivacyLedger, tmp_path / "ledger", epsilon=2.0) == PrivacyReason.ANOTHER_BUDGET

    def test_a_ledger_of_the_future_is_refused(self, tmp_path):
        PrivacyLedger(tmp_path / "ledger").close()
        with sqlite3.connect(tmp_path / "ledger") as database:
            database.execute("PRAGMA user_version = 99")
        database.close()
        assert reason_of(PrivacyLedger, tmp_path / "ledger") == PrivacyReason.UNKNOWN_VERSION

    def test_two_processes_do_not_overspend_together(self, tmp_path):
        path = tmp_path / "ledger"
        PrivacyLedger(path, epsilon=1.0).close()
        with multiprocessing.get_context("fork").Pool(4) as pool:
            pool.starmap(spend, [(path, index) for index in range(4)])
        assert 0 < PrivacyLedger(path, epsilon=1.0).spent() <= 1.0

    @pytest.mark.parametrize("release", [(0,), (-1,), (float("nan"),), (1, 0), (1, 1.5), (1, 1, 0)])
    def test_a_release_without_noise_is_refused(self, release):
        assert reason_of(Release, *release) == PrivacyReason.BAD_PARAMETER


def spend(path, index):
    ledger = PrivacyLedger(path, epsilon=1.0)
    try:
        ledger.authorise(f"round-{index}", Release(8.0))  # one costs 0.6: the second must not pass
    except PrivacyRefused:
        return
    finally:
        ledger.close()


class TestCentral:
    model = {"a": np.zeros((2, 2), np.float32), "b": np.zeros(3, np.float32)}  # noqa: RUF012

    def updates(self, *scales):
        return [
            Update(
                {name: np.full_like(tensor, scale) for name, tensor in self.model.items()}, UpdateMetadata(0, 0, "v", 1)
            )
            for scale in scales
        ]

    def run(self, updates, noise, strategy="fedavg", weights=None):
        central = STRATEGIES.build(
            {"central_dp": {"noise_multiplier": noise, "expected_vehicles": 4, "strategy": strategy}}
        )
        central.begin(self.model, 0)
        for index, update in enumerate(updates):
            central.add(update, 1.0 if weights is None else weights[index])
        return central.finish()

    def test_each_vehicle_moves_the_sum_by_at_most_the_clip_norm(self):
        # Seven parameters of 1: norm √7, clipped to 1 each is 1/√7. Of four expected two came: 2/(4√7), unweighted.
        result = self.run(self.updates(1, 1000), noise=1e-9, weights=[1, 1e6])
        np.testing.assert_allclose(result["b"], np.full(3, 2 / (4 * np.sqrt(7))), rtol=1e-5)

    def test_noise_has_the_size_that_was_asked_for(self):
        draws = np.concatenate([self.run(self.updates(0.0), noise=2.0)["b"] for _ in range(2000)])
        assert draws.std() == pytest.approx(2.0 * 1.0 / 4, rel=0.05)  # 6000 draws: σ of the estimate 0.9 %

    def test_the_noised_mean_goes_to_a_server_optimiser(self):
        result = self.run(self.updates(1, 1, 1, 1), noise=1e-9, strategy={"fedavgm": {"server_lr": 2.0}})
        np.testing.assert_allclose(result["b"], np.full(3, 2 / np.sqrt(7)), rtol=1e-5)

    def test_a_rule_that_looks_into_updates_is_refused(self):
        with pytest.raises(ConfigurationRefused):
            self.run([], noise=1.0, strategy="median")


class TestOnTheVehicle:
    layout = Layout(("w",), ((50_000,),))

    def sent(self, scale, **options):
        pipeline = Pipeline.from_config([{"dp_noise": options}], self.layout)
        update = Update({"w": np.full(50_000, scale, np.float32)}, UpdateMetadata(0, 0, "v", 1))
        return pipeline.decode(pipeline.encode(update)).tensors["w"]

    def test_the_stage_clips_and_noises(self):
        arrived = self.sent(100.0, noise_multiplier=3.0, clip_norm=2.0)
        assert arrived.std() == pytest.approx(6.0, rel=0.02)
        assert arrived.mean() == pytest.approx(2 / np.sqrt(50_000), abs=0.12)  # σ of the mean 0.027

    def test_a_share_of_the_noise_for_a_masked_sum(self):
        assert self.sent(0.0, noise_multiplier=3.0, vehicles=9).std() == pytest.approx(1.0, rel=0.02)


class TestLocal:
    def test_images_keep_type_and_range_and_get_calibrated_noise(self):
        images = np.full((4, 100, 100, 3), 128, np.uint8)
        private = LocalDP(epsilon=8.0, delta=1e-5, mechanism="gaussian").privatize_images(images, sensitivity=20.0)
        assert (private.dtype, private.shape) == (np.uint8, images.shape)
        sigma = gaussian_sigma(8.0, 1e-5, 20.0)  # about 12: the range cuts nothing
        assert (private.astype(float) - 128).std() == pytest.approx(np.sqrt(sigma**2 + 1 / 12), rel=0.02)
        floats = LocalDP(8.0).privatize_images(images / np.float32(255), sensitivity=0.1)
        assert floats.dtype == np.float32
        assert floats.min() >= 0
        assert floats.max() <= 1

    def test_scalars_are_cut_to_their_bounds_first(self):
        # Ranges 3 and 4: L2 sensitivity 5, L1 7.
        bounds = np.array([[0, 3], [-2, 2]])
        draws = np.array([LocalDP(1e6, 1e-5).privatize_scalars([1e9, -1e9], bounds) for _ in range(20)])
        np.testing.assert_allclose(draws.mean(axis=0), [3, -2], atol=0.05)
        noise = np.array([LocalDP(1.0, 1e-5).privatize_scalars([0, 0], bounds) for _ in range(3000)])
        assert noise.std() == pytest.approx(gaussian_sigma(1.0, 1e-5, 5.0), rel=0.06)
        noise = np.array([LocalDP(2.0, mechanism="laplace").privatize_scalars([0, 0], bounds) for _ in range(3000)])
        assert noise.std() == pytest.approx(np.sqrt(2) * 7 / 2, rel=0.1)

    def test_bad_input_is_refused(self):
        local = LocalDP(1.0)
        assert reason_of(LocalDP, 1.0, mechanism="exponential") == PrivacyReason.BAD_PARAMETER
        assert reason_of(local.privatize_images, np.zeros((2, 2), int), 1.0) == PrivacyReason.BAD_INPUT
        assert reason_of(local.privatize_images, np.full((2, 2), np.nan), 1.0) == PrivacyReason.BAD_INPUT
        assert reason_of(local.privatize_images, np.zeros((2, 2)), 0.0) == PrivacyReason.BAD_PARAMETER
        assert reason_of(local.privatize_scalars, [np.nan], (0, 1)) == PrivacyReason.BAD_INPUT
        assert reason_of(local.privatize_scalars, [0.0], (1, 0)) == PrivacyReason.BAD_PARAMETER


class TestDpSgd:
    data = TensorDataset(torch.randn(64, 3, generator=torch.Generator().manual_seed(1)), torch.zeros(64, 1))

    def private(self, tmp_path, epsilon=50.0, noise=1.0, model=None):
        model = model or torch.nn.Linear(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        ledger = PrivacyLedger(tmp_path / "ledger", epsilon)
        loader = DataLoader(self.data, batch_size=16)
        return ledger, make_private(
            model,
            optimizer,
            loader,
            epochs=2,
            noise_multiplier=noise,
            max_grad_norm=1.0,
            ledger=ledger,
            purpose="round-1",
        )

    def test_training_is_entered_in_the_ledger_and_learns(self, tmp_path):
        ledger, training = self.private(tmp_path)
        assert training.release == Release(1.0, 0.25, 8)  # 64 samples in batches of 16, two epochs
        assert ledger.spent() == pytest.approx(epsilon_of([training.release], 1e-5))
        losses = []
        for _ in range(2):
            for inputs, targets in training.loader:
                training.optimizer.zero_grad()
                loss = torch.nn.functional.mse_loss(training.model(inputs), targets)
                loss.backward()
                training.optimizer.step()
                losses.append(loss.item())
        assert np.isfinite(losses).all()

    def test_one_step_moves_by_at_most_the_clipped_gradients_without_noise(self, tmp_path):
        _, training = self.private(tmp_path, epsilon=1e9, noise=1e-3)
        before = [parameter.detach().clone() for parameter in training.model.parameters()]
        inputs, targets = next(iter(training.loader))
        (1e6 * torch.nn.functional.mse_loss(training.model(inputs), targets)).backward()
        training.optimizer.step()
        moved = torch.cat([(new - old).flatten() for new, old in zip(training.model.parameters(), before, strict=True)])
        assert moved.norm() <= 0.5 * len(inputs) / 16 + 1e-2  # rate · clip · drawn / expected

    def test_a_budget_too_small_or_a_model_that_mixes_samples_is_refused(self, tmp_path):
        assert reason_of(self.private, tmp_path, epsilon=0.01) == PrivacyReason.BUDGET_EXCEEDED
        mixing = torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.BatchNorm1d(1))
        assert reason_of(self.private, tmp_path, epsilon=0.01, model=mixing) == PrivacyReason.BAD_INPUT
