import pytest
import torch
from torchvision.transforms import v2

from maskmill.models.errors import UsageError
from maskmill.pipeline.dataset import LabeledImage, LabeledImages
from maskmill.pipeline.dataset.transform import transformed


def sample_of(masks, ignore=None, soft_masks=None) -> LabeledImage:
    """Each pixel's red says its column, its green its row."""
    count, height, width = masks.shape
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    image[0], image[1] = torch.arange(width), torch.arange(height)[:, None]
    return LabeledImage(
        image=image, masks=masks, class_ids=torch.arange(count), scores=torch.linspace(0.9, 0.5, count),
        ignore=torch.zeros(height, width, dtype=torch.bool) if ignore is None else ignore, soft_masks=soft_masks,
        key="a", shard="s.tar", sample_index=0, caption=None,
    )  # fmt: skip


def quarters() -> LabeledImage:
    """A mask on the left upper quarter and one on the lower half; the right upper quarter is ignored."""
    masks = torch.zeros(2, 40, 60, dtype=torch.bool)
    masks[0, :20, :30], masks[1, 20:] = True, True
    soft = torch.stack([torch.where(mask, 8.0, -8.0) for mask in masks[:, ::4, ::4]])
    return sample_of(masks, ignore=~masks.any(0), soft_masks=soft)


def by_position(sample: LabeledImage) -> list[torch.Tensor]:
    """Masks and ignored pixels as the image's own pixels place them."""
    column, row = sample.image[0].long(), sample.image[1].long()
    left, upper = column < 30, row < 20
    return [left & upper, ~upper, ~left & upper]


@pytest.mark.parametrize("transform", [v2.RandomHorizontalFlip(0.5), v2.RandomVerticalFlip(0.5), v2.RandomCrop(25)])
@pytest.mark.parametrize("seed", range(3))
def test_masks_ignored_pixels_and_soft_masks_move_with_the_image(transform, seed):
    found = transformed(quarters(), transform, (seed, 0))
    *masks, ignore = by_position(found)
    expected = [mask for mask in masks if mask.any()]
    assert torch.equal(found.masks, torch.stack(expected))
    assert found.class_ids.tolist() == [place for place, mask in enumerate(masks) if mask.any()]
    assert torch.equal(found.ignore, ignore)
    inside = found.soft_masks > 0
    edges = sum(int((one != other).sum()) for one, other in zip(inside, found.masks, strict=True))
    assert edges < 0.05 * found.masks.numel()
    assert type(found.image) is type(found.masks) is type(found.soft_masks) is torch.Tensor


def test_pixels_that_a_transform_adds_are_ignored():
    whole = sample_of(torch.ones(1, 8, 8, dtype=torch.bool))
    found = transformed(whole, v2.Pad((2, 3)), (0, 0))
    assert found.image.shape[1:] == (14, 12)
    assert torch.equal(found.ignore, ~found.masks[0])
    assert int(found.ignore.sum()) == 14 * 12 - 64


def test_an_image_without_masks_is_transformed_too():
    found = transformed(sample_of(torch.zeros(0, 8, 8, dtype=torch.bool)), v2.Resize((4, 6)), (0, 0))
    assert found.masks.shape == (0, 4, 6)
    assert found.image.shape == (3, 4, 6)


def test_random_numbers_follow_from_seed_epoch_and_sample_and_leave_torchs_own_alone(run_of):
    def seen(epoch, seed=0):
        data = LabeledImages(run_of[1].url, transform=v2.RandomCrop(20), seed=seed)
        data.set_epoch(epoch)
        return torch.stack([sample.image for sample in data])

    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = seen(0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(seen(0), first)
    assert not torch.equal(seen(1), first)
    assert not torch.equal(seen(0, seed=1), first)


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (lambda image, target: image, "expected \\(image, target\\)"),
        (lambda image, target: (image, {}), "gave no masks"),
        (lambda image, target: (v2.functional.resize(image, [4, 4]), target), "transform gave masks"),
        (lambda image, target: (image, {**target, "masks": target["masks"][:1]}), "transform gave masks"),
    ],
)
def test_a_transform_that_gives_something_else_is_refused(transform, message):
    with pytest.raises(UsageError, match=message):
        transformed(quarters(), transform, (0, 0))


def test_an_error_in_a_transform_names_the_sample():
    def broken(image, target):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        transformed(quarters(), broken, (0,))
    assert caught.value.__notes__ == [f"in the transform of sample 0 of {quarters().shard}"]


def test_a_transform_is_a_function(run_of):
    with pytest.raises(UsageError, match="transform 'flip'"):
        LabeledImages(run_of[1].url, transform="flip")
    with pytest.raises(UsageError, match="batch_size=0"):
        LabeledImages(run_of[1].url, batch_size=0)
