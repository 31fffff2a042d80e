"""Energy that the machine itself counted during a run; nothing is estimated where it does not count.

Linux shows the counters of the processor's packages (RAPL) under /sys/class/powercap, where the machine has them and
the user may read them. Wall time times an assumed power would be a guess about load, so there is no such figure.
"""

from __future__ import annotations

import threading
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
_JOULES_OF_WH = 3600.0


class EnergyMeter:
    """Counts from ``start`` on; ``watt_hours`` may be asked at any time.

    Counters begin anew after some 260 kJ, half an hour of a busy server, so a thread of its own reads them now and
    then. What else ran on the machine meanwhile is counted too. Where there is no counter nothing is started.

    Args:
        folder: Where the system shows its counters.
        every: Seconds between two readings.

    Example:
        >>> meter = EnergyMeter().start()
        >>> used = meter.watt_hours()
        >>> meter.stop()
        >>> used is None or used >= 0
        True
    """

    def __init__(self, folder: Path = POWERCAP, *, every: float = 30.0) -> None:
        self.every = every
        self._counters = packages(folder)
        self._last: dict[Path, int] = {}
        self._joules = 0.0
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def start(self) -> EnergyMeter:
        """Begins to count, in this process alone.

        Returns:
            The meter.
        """
        try:
            self._last = {counter: energy(counter) for counter in self._counters}
        except (OSError, ValueError):  # only root may read them, mostly
            self._last = {}
        if self._last:
            threading.Thread(target=self._watch, name="energy", daemon=True).start()
        return self

    def watt_hours(self) -> float | None:
        """Of all processor packages together since ``start``; None where the machine does not tell."""
        self._read()
        return self._joules / _JOULES_OF_WH if self._last else None

    def stop(self) -> None:
        """Ends the thread."""
        self._stop.set()

    def _watch(self) -> None:
        while not self._stop.wait(self.every):
            self._read()

    def _read(self) -> None:
        with self._lock:
            try:
                for counter, before in self._last.items():
                    now = energy(counter)
                    # It has begun anew at its range when it shows less than before.
                    self._joules += ((now - before) if now >= before else (now - before + span(counter))) / 1e6
                    self._last[counter] = now
            except (OSError, ValueError):
                self._last = {}  # half a count is none


def packages(folder: Path) -> list[Path]:
    """The counters of whole packages: ``intel-rapl:0`` is one, ``intel-rapl:0:1`` a part that it counts already."""
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if path.name.count(":") == 1 and (path / "energy_uj").is_file() and _name(path).startswith("package")
    )


def energy(counter: Path) -> int:
    """What a counter shows, in microjoules.

    Raises:
        OSError: When it may not be read.
        ValueError: When it shows no number.
    """
    return int((counter / "energy_uj").read_text())


def span(counter: Path) -> int:
    """Where a counter begins anew, in microjoules."""
    return int((counter / "max_energy_range_uj").read_text())


def _name(counter: Path) -> str:
    try:
        return (counter / "name").read_text().strip()
    except OSError:
        return ""
