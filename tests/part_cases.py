"""Every part that stands beside a loss or changes what learns: how it is made for a source network and its rows."""

from hf_transfer_kit import (
    BSS,
    DELTA,
    EMA,
    L2SP,
    FreezeLayers,
    GradientRates,
    GradualUnfreezing,
    L2SPFisher,
    LwF,
    WeightInterpolation,
)

PARTS = {
    "FreezeLayers": lambda source, rows: FreezeLayers(first=1, quiet=True),
    "GradualUnfreezing": lambda source, rows: GradualUnfreezing(every="1 steps", keep_frozen=1, quiet=True),
    "L2SP": lambda source, rows: L2SP(alpha=0.1),
    "L2SPFisher": lambda source, rows: L2SPFisher(alpha=0.1, dataset=rows, num_samples=4),
    "DELTA": lambda source, rows: DELTA(alpha=0.1),
    "BSS": lambda source, rows: BSS(),
    "LwF": lambda source, rows: LwF(source=source),
    "EMA": lambda source, rows: EMA(decay=0.5),
    "GradientRates": lambda source, rows: GradientRates(memory=2),
    "WeightInterpolation": lambda source, rows: WeightInterpolation(alphas=(0.0, 0.5, 1.0), eval_dataset=rows),
}
