"""What Prometheus is told of the backup, read from the state at each question."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from dicom_backup import state
from dicom_backup.config import DRILL_STALE_AFTER_S, Config


class _FromState(Collector):
    """Gauges of the state as it lies on the disk."""

    def __init__(self, config: Config, now_s: Callable[[], float]) -> None:
        self._config = config
        self._now_s = now_s

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Read the state and give its gauges."""
        config, now_s = self._config, self._now_s()
        known = state.load(config.state_file)
        first_s = known.first_s or now_s
        for name, text, value in (
            (
                "age_seconds",
                "Age of the last backup, or of the first try where there is none",
                now_s - (known.succeeded_s or first_s),
            ),
            (
                "age_limit_seconds",
                "Age from which the last backup is too old",
                config.stale_after_s,
            ),
            (
                "dump_age_seconds",
                "Age of the last dump of the databases, or of the first try",
                now_s - (known.dumped_s or first_s),
            ),
            (
                "dump_age_limit_seconds",
                "Age from which the last dump is too old",
                config.dump_stale_after_s,
            ),
            (
                "check_age_seconds",
                "Age of the last check, or of the first try where there is none",
                now_s - (known.checked_s or first_s),
            ),
            (
                "check_failed",
                "Whether the last check found the repository damaged or could not be made",
                bool(known.check_error),
            ),
            (
                "realm_failed",
                "Whether the last export of Keycloak's people failed or was not whole",
                bool(known.realm_error),
            ),
            (
                "drill_age_seconds",
                "Age of the last drill, or of the first try of a backup where there was none",
                config.drill_age_s(first_s, now_s),
            ),
            ("drill_age_limit_seconds", "Age from which a drill is overdue", DRILL_STALE_AFTER_S),
            ("run_failed", "Whether the last run was not complete", bool(known.error)),
            ("duration_seconds", "How long the last backup took", known.duration_s),
            ("added_bytes", "What the last backup added to the repository", known.added_bytes),
        ):
            yield GaugeMetricFamily(f"dicom_backup_{name}", text, value)


def registry(config: Config, now_s: Callable[[], float]) -> CollectorRegistry:
    """Return a registry that reads the state whenever it is asked."""
    made = CollectorRegistry()
    made.register(_FromState(config, now_s))
    return made
