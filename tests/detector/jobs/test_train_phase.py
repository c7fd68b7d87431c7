import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from torch import nn

from detector.data import ArraySource, TrainImages
from detector.decoupling.recipes import Crop, Phase, Schedule
from detector.jobs.batches import BatchOrder, TrainingBatches
from detector.jobs.objectives import Objective, StepLoss
from detector.jobs.train_phase import PhaseRun, StepBudget
from detector.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(
    height=8, width=8, shorter_side=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
)


@pytest.fixture(autouse=True)
def _no_state_of_other_tests():
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


class Falling(Schedule):
    def __call__(self, progress):
        return 1 - progress


class Slope(Objective):
    """One weight whose gradient is one; notes what each step sees."""

    def __init__(self):
        super().__init__()
        self.network = nn.Identity()
        self.weight = nn.Parameter(torch.zeros(()))
        self.sides = []
        self.strengths = []

    def forward(self, images, targets, noise):
        self.sides.append(images.shape[2])
        return StepLoss(self.weight + 0 * images.sum(), {"half": self.weight.detach() / 2})

    def noise(self, images, std, hard_share, generator):
        self.strengths.append(std)


@pytest.fixture
def phase_run(tmp_path):
    def make(phase, *, steps=None, checkpoint_every_s=1e9):
        pixels = np.zeros((8, 8, 8, 3), dtype=np.uint8)
        images = TrainImages(ArraySource(pixels, np.arange(8) % 2, "ab"), np.arange(8))
        return PhaseRun(
            title="slope",
            phase=phase,
            seed=0,
            batches=TrainingBatches(images, PREPROCESSING, Crop.PAD_4, BatchOrder(8, 4, 0)),
            accelerator=Accelerator(cpu=True),
            compiled=False,
            workers=0,
            checkpoint=tmp_path / "slope.checkpoint",
            fingerprint="slope",
            checkpoint_every_s=checkpoint_every_s,
            budget=StepBudget(steps),
        )

    return make


def descent(rates):
    """The weight after each step with momentum .9 and a gradient of one."""
    weight, velocity, weights = 0.0, 0.0, []
    for rate in rates:
        velocity = 0.9 * velocity + 1
        weight -= rate * velocity
        weights.append(weight)
    return weights


def test_steps_follow_the_schedule_with_momentum(phase_run):
    objective = Slope()
    phase = Phase(epochs=3, learning_rate=0.1, schedule=Falling(), weight_decay=0)
    reported = []
    finished = phase_run(phase).run(
        objective, lambda epoch, found, _: reported.append((epoch, found.weight.item()))
    )
    weights = descent([0.1 * (1 - step / 6) for step in range(6)])
    assert finished
    assert objective.weight.item() == pytest.approx(weights[-1])
    assert reported == [(1, pytest.approx(weights[1])), (2, pytest.approx(weights[3])),
                        (3, pytest.approx(weights[5]))]  # fmt: skip


def test_a_phase_that_averages_ends_with_the_average(phase_run):
    objective = Slope()
    phase = Phase(
        epochs=3, learning_rate=0.1, schedule=Falling(), weight_decay=0, average_decay=0.75
    )
    phase_run(phase).run(objective, lambda *_: None)
    weights = descent([0.1 * (1 - step / 6) for step in range(6)])
    average = weights[0]
    for weight in weights[1:]:
        average = 0.75 * average + 0.25 * weight
    assert objective.weight.item() == pytest.approx(average)


def test_the_first_share_of_a_phase_sees_small_images_and_noise_that_rises(phase_run):
    objective = Slope()
    phase = Phase(epochs=2, learning_rate=0.1, schedule=Falling(), small_share=0.5, noise_ramp=0.75)
    phase_run(phase).run(objective, lambda *_: None)
    assert objective.sides == [6, 6, 8, 8]
    assert objective.strengths == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_the_noise_of_a_phase_is_as_strong_as_it_says(phase_run):
    objective = Slope()
    phase = Phase(epochs=2, learning_rate=0.1, schedule=Falling(), noise=0.25, noise_fall=0.5)
    phase_run(phase).run(objective, lambda *_: None)
    assert objective.strengths == pytest.approx([0.25, 0.25, 0.25, 0.125])


def test_without_a_ramp_the_noise_has_its_full_strength(phase_run):
    objective = Slope()
    phase_run(Phase(epochs=1, learning_rate=0.1, schedule=Falling())).run(
        objective, lambda *_: None
    )
    assert objective.strengths == [1, 1]


def test_a_budget_of_steps_stops_the_phase_and_the_next_run_takes_the_rest(phase_run):
    phase = Phase(epochs=3, learning_rate=0.1, schedule=Falling(), weight_decay=0)
    first, second = Slope(), Slope()
    assert not phase_run(phase, steps=4).run(first, lambda *_: None)
    assert phase_run(phase).run(second, lambda *_: None)
    assert (len(first.sides), len(second.sides)) == (4, 2)
    assert second.weight.item() == pytest.approx(descent([0.1 * (6 - s) / 6 for s in range(6)])[-1])


def test_a_budget_counts_down_and_one_of_none_never_ends():
    budget, endless = StepBudget(2), StepBudget(None)
    seen = []
    for _ in range(3):
        seen.append((budget.spent, endless.spent))
        budget.spend()
        endless.spend()
    assert seen == [(False, False), (False, False), (True, False)]


def test_the_mean_losses_of_an_epoch_are_reported_also_where_it_was_interrupted(phase_run):
    phase = Phase(epochs=2, learning_rate=0.1, schedule=Falling(), weight_decay=0)
    straight, stopped = [], []
    phase_run(phase).run(Slope(), lambda *found: straight.append((found[0], found[2])))
    before = [0.0, *descent([0.1 * (1 - step / 4) for step in range(3)])]
    means = [sum(before[:2]) / 2, sum(before[2:]) / 2]
    assert straight == [
        (epoch, {"loss": pytest.approx(mean), "half": pytest.approx(mean / 2)})
        for epoch, mean in enumerate(means, start=1)
    ]
    phase_run(phase).checkpoint.unlink()
    while not phase_run(phase, steps=1).run(
        Slope(), lambda *found: stopped.append((found[0], found[2]))
    ):
        pass
    assert stopped == straight


def test_no_checkpoint_is_past_an_epoch_that_was_not_reported(phase_run):
    class FullDiskError(Exception):
        pass

    def failing(*_):
        raise FullDiskError

    phase = Phase(epochs=2, learning_rate=0.1, schedule=Falling(), weight_decay=0)
    with pytest.raises(FullDiskError):
        phase_run(phase, checkpoint_every_s=-1.0).run(Slope(), failing)
    starts, reported = [], []
    phase_run(phase).run(Slope(), lambda *found: reported.append(found[0]), at_start=starts.append)
    assert (starts, reported) == ([0], [1, 2])


def test_a_checkpoint_without_losses_still_continues(phase_run):
    phase = Phase(epochs=2, learning_rate=0.1, schedule=Falling(), weight_decay=0)
    run = phase_run(phase, steps=2)
    run.run(Slope(), lambda *_: None)
    content = torch.load(run.checkpoint, weights_only=True)
    del content["states"]["losses"]
    torch.save(content, run.checkpoint)
    reported = []
    assert phase_run(phase).run(Slope(), lambda *found: reported.append(found[0]))
    assert reported == [2]
