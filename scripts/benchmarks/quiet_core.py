"""adapt.py with the minutes of its runs counted in processor time: what one quiet core gives, on a busy machine.

    OMP_NUM_THREADS=1 python scripts/benchmarks/quiet_core.py --source SOURCE --target TARGET ...

Flags are those of adapt.py. At the end the processor time of the whole command is told.
"""

import time
from functools import partial

from hf_transfer_kit.commands.main import run
from hf_transfer_kit.selection.adapting import running, source_free
from hf_transfer_kit.selection.generalising import running as several

if __name__ == "__main__":
    for room in (running, source_free, several):
        room.UntilFlat = partial(room.UntilFlat, clock=time.process_time)
    try:
        run("adapt")
    finally:
        print(f"{time.process_time():.0f} seconds of processor time.")
