import numpy as np
import pytest
import torch
from torch.nn import functional

from detector.attacks.model import AttackedModel
from detector.data import ArraySource, FitImages
from detector.decoupling import Adversaries, DecoupledNetwork, Relaxed
from detector.decoupling.backbones import CifarResNet
from detector.jobs.adversaries import InnerAttack, attacked_accuracy, with_adversaries
from detector.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(
    height=8, width=8, shorter_side=8, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3)
)
EPSILON = 8 / 255


@pytest.fixture(params=["plain", "decoupled"])
def network(request):
    torch.manual_seed(0)
    backbone = CifarResNet(1, 4, widths=(4, 4, 8))
    return (backbone if request.param == "plain" else DecoupledNetwork(backbone)).train()


@pytest.fixture
def pixels():
    generator = torch.Generator().manual_seed(1)
    # With pixels at both ends of the range, where the ball is cut.
    images = torch.randint(-40, 296, (12, 3, 8, 8), generator=generator).clamp(0, 255)
    return PREPROCESSING(images.to(torch.uint8))


TARGETS = torch.arange(12) % 4


def attacked(network, pixels, *, seed=0, **changes):
    adversaries = Adversaries(**{"steps": 3, "relative_step": 0.75, **changes})
    return with_adversaries(network, pixels, TARGETS, adversaries, PREPROCESSING, seed=seed)


def loss(network, pixels):
    model = AttackedModel(network, PREPROCESSING).eval()
    logits = model(PREPROCESSING.denormalise(pixels))
    model.train()
    return functional.cross_entropy(logits, TARGETS).item()


def test_attacked_images_stay_in_the_ball_and_in_the_range_of_pixels(network, pixels):
    before, after = (
        images * torch.tensor(PREPROCESSING.std).view(3, 1, 1)
        + torch.tensor(PREPROCESSING.mean).view(3, 1, 1)
        for images in (pixels, attacked(network, pixels))
    )
    change = (after - before).abs()
    assert change.max() <= EPSILON + 1e-6
    assert (change > 0.9 * EPSILON).any()
    assert after.min() >= -1e-6
    assert after.max() <= 1 + 1e-6
    assert before.min() < EPSILON / 2  # so that the range was in the way


def test_the_attack_raises_the_loss_of_the_network_as_it_is_evaluated(network, pixels):
    found = [loss(network, images) for images in (pixels, attacked(network, pixels))]
    start = InnerAttack(epsilon=EPSILON, steps=1, relative_step=0.0)
    clean = PREPROCESSING.denormalise(pixels)
    noise = PREPROCESSING.normalise(start(AttackedModel(network, PREPROCESSING), clean, TARGETS))
    assert found[1] > found[0]
    assert found[1] > loss(network, noise)


def test_an_attack_leaves_the_network_and_the_global_random_numbers_as_they_were(network, pixels):
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    torch.manual_seed(3)
    before = torch.get_rng_state()
    kept = pixels.clone()
    attacked(network, pixels)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(pixels, kept)
    assert all(torch.equal(state[name], tensor) for name, tensor in network.state_dict().items())
    assert all(module.training for module in network.modules())
    assert all(weight.requires_grad and weight.grad is None for weight in network.parameters())


def test_the_seed_decides_the_random_start(network, pixels):
    first, again, other = (attacked(network, pixels, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("share", "count"), [(0.01, 1), (0.5, 6), (1.0, 12)])
def test_a_share_of_the_batch_is_attacked_and_the_rest_is_seen_as_it_is(
    network, pixels, share, count
):
    found = attacked(network, pixels, share=share)
    changed = (found - pixels).abs().amax(dim=(1, 2, 3)) > EPSILON
    assert changed.tolist() == [True] * count + [False] * (12 - count)
    assert torch.equal(found[count:], pixels[count:])


def test_the_way_through_the_gates_decides_where_the_attack_goes(network, pixels):
    ways = attacked(network, pixels), attacked(network, pixels, through=Relaxed())
    assert torch.equal(*ways) is not isinstance(network, DecoupledNetwork)


def test_accuracy_on_attacked_images_is_measured_on_a_fixed_part_of_the_split():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 4))
    images = np.random.default_rng(0).integers(0, 256, (300, 8, 8, 3), dtype=np.uint8)
    pixels = PREPROCESSING(torch.from_numpy(images).permute(0, 3, 1, 2))
    labels = network(pixels).argmax(dim=1).numpy()  # so that each clean image counts
    split = FitImages(ArraySource(images, labels, "abcd"), np.arange(300))

    def accuracy(epsilon):
        adversaries = Adversaries(epsilon=epsilon)
        device = torch.device("cpu")
        return attacked_accuracy(network, split, PREPROCESSING, adversaries, device)

    some, again, none = (accuracy(epsilon) for epsilon in (4 / 255, 4 / 255, 64 / 255))
    assert accuracy(1e-6) > 0.99
    assert 0 < some < 0.99
    assert some == again
    assert none < some
    assert 200 * some == pytest.approx(round(200 * some))
    assert network.training
