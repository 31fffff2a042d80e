"""Source images in the target's style: their own phase, amplitudes in between."""

import pytest
import torch

from hf_transfer_kit import DomainCollator, DomainPairs
from hf_transfer_kit.adaptation.target_style import in_style_of
from hf_transfer_kit.errors import DataError, SettingsError


def images(seed, shape=(4, 3, 9, 8), dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("shape", [(4, 3, 9, 8), (2, 1, 8, 8), (1, 3, 7, 7), (3, 2, 1, 5)])
def test_phases_are_kept_and_amplitudes_lie_between(shape):
    own, other = images(0, shape), images(1, shape)
    torch.manual_seed(3)
    mixed = in_style_of(own, other, 0.7)
    torch.manual_seed(3)
    share = 0.7 * torch.rand(len(own), 1, 1, 1, dtype=torch.float64)
    spectrum, a, b = (torch.fft.fft2(rows) for rows in (mixed, own, other))
    wanted = (1 - share) * a.abs() + share * b.abs()
    edge = torch.zeros(shape[-2:], dtype=torch.bool)
    edge[0, 0] = True  # the mean, below
    assert torch.allclose(spectrum.abs()[..., ~edge], wanted[..., ~edge])
    assert torch.allclose(torch.polar(wanted, a.angle())[..., ~edge], spectrum[..., ~edge])
    means = [rows.mean((-2, -1)) for rows in (mixed, own, other)]
    assert torch.allclose(means[0], torch.lerp(means[1], means[2], share[..., 0, 0]))


def test_a_dark_image_becomes_brighter_and_not_its_negative():
    dark, bright = images(0) * 0.1 - 1, images(1) * 0.1 + 1
    mixed = in_style_of(dark, bright)
    assert ((mixed.mean((1, 2, 3)) > -1.1) & (mixed.mean((1, 2, 3)) < 1.1)).all()
    assert (
        torch.corrcoef(torch.stack([(mixed - mixed.mean((-2, -1), keepdim=True)).flatten(), (dark + 1).flatten()]))[
            0, 1
        ]
        > 0.5
    )


def test_nothing_changes_by_its_own_style_nor_by_none():
    rows = images(0)
    assert in_style_of(rows, images(1), 0) is rows
    assert torch.allclose(in_style_of(rows, rows), rows)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_other_precisions_come_back_as_they_were(dtype):
    rows = images(0, dtype=dtype).requires_grad_()
    mixed = in_style_of(rows, images(1, dtype=dtype))
    assert mixed.dtype == dtype
    assert not mixed.requires_grad
    torch.manual_seed(0)
    first = in_style_of(rows, images(1, dtype=dtype))
    torch.manual_seed(0)
    assert torch.equal(first, in_style_of(rows, images(1, dtype=dtype)))


def test_images_of_another_size_are_refused():
    with pytest.raises(DataError, match="prepare both domains alike"):
        in_style_of(images(0), images(0, (4, 3, 8, 8)))


class TestPairs:
    def rows(self, seed):
        return [{"pixel_values": image, "labels": label} for label, image in enumerate(images(seed))]

    def test_the_source_alone_takes_a_style_and_its_labels_stay(self):
        pairs = DomainPairs(self.rows(0), self.rows(1))
        collate = torch.utils.data.default_collate
        plain = DomainCollator(collate)([pairs[i] for i in range(4)])
        seen = []

        def style(source, target):
            seen.append(target)
            return source + target

        styled = DomainCollator(collate, style=style)([pairs[i] for i in range(4)])
        assert torch.equal(styled["pixel_values"], plain["pixel_values"] + plain["target_pixel_values"])
        assert torch.equal(styled["target_pixel_values"], plain["target_pixel_values"])
        assert torch.equal(styled["labels"], plain["labels"])
        assert len(seen) == 1
        alone = DomainCollator(collate, style=style)(self.rows(0))
        assert torch.equal(alone["pixel_values"], images(0))

    def test_what_is_no_image_or_no_function_is_refused(self):
        rows = [{"input_ids": torch.arange(3), "labels": 0}] * 2
        pairs = DomainPairs(rows, rows)
        with pytest.raises(DataError, match="style is of images"):
            DomainCollator(torch.utils.data.default_collate, style=in_style_of)([pairs[0], pairs[1]])
        with pytest.raises(SettingsError, match=r"style=0\.5 cannot be called"):
            DomainCollator(torch.utils.data.default_collate, style=0.5)
