"""Compare a latency with one that was accepted on another host of the same class.

Hosts whose processor has one name are not one machine: memory, cooling and neighbours differ, and so do ratios of
times. On the host where a value was accepted nothing of this counts; on another one, the spread between hosts does: an
assumption until three hosts are recorded, which what they show then moderates.
"""

import math
from collections.abc import Mapping

import numpy as np

from quantbench.records import BaselineValue

# Assumed standard deviation of a ratio from one host to the next of its class, as a fraction. No fleet was measured; by
# simulation it keeps a run of 21 timed cells below 1 % false reds where hosts differ by .5, 1 or 2 %.
ASSUMED = 0.015
LEAST_HOSTS = 3
# What the assumption weighs, in degrees of freedom, against what hosts show: three alone estimate a spread too poorly.
ASSUMED_DEGREES = 6
# Where hosts are fresh machines of a cloud, there would be a new level every night.
MOST_HOSTS = 20


def elsewhere(accepted: BaselineValue, host: str) -> bool:
    """Check whether a value was accepted on another host than this one; False where either is unknown."""
    there = accepted.accepted.host
    return bool(host and there and host != there)


def spread_of_hosts(hosts: Mapping[str, float] | None) -> float:
    """Return the standard deviation from host to host, as a fraction.

    The assumption and the sample variance of the hosts' levels, each weighed by its degrees of freedom: a moderated
    variance (Smyth 2004, Linear models and empirical Bayes methods for assessing differential expression, section 3).
    """
    levels = [level for level in (hosts or {}).values() if level > 0]
    if len(levels) < LEAST_HOSTS:
        return ASSUMED
    seen, degrees = float(np.var(np.log(levels), ddof=1)), len(levels) - 1
    return math.sqrt((ASSUMED_DEGREES * ASSUMED**2 + degrees * seen) / (ASSUMED_DEGREES + degrees))


def on_this_host(accepted: BaselineValue, host: str) -> tuple[BaselineValue, float]:
    """Return what a latency is compared with on this host, and the spread between hosts that counts.

    Where this host's own level is recorded, that is the baseline, and no spread counts.
    """
    if not elsewhere(accepted, host):
        return accepted, 0.0
    own = (accepted.hosts or {}).get(host)
    if own is None or not accepted.value:
        return accepted, spread_of_hosts(accepted.hosts)
    scale = own / accepted.value
    return accepted.model_copy(update={"value": own, "values": [scale * one for one in accepted.values or []]}), 0.0


def hosts_with(old: BaselineValue | None, host: str, level: float) -> dict[str, float] | None:
    """Add a host's level to those that a baseline holds of the same artifact; None where only one is known."""
    known = dict(old.hosts or {}) if old is not None else {}
    if old is not None and old.accepted.host and old.accepted.host not in known:
        known[old.accepted.host] = old.value
    if host:
        known.pop(host, None)
        known = dict(list(known.items())[-(MOST_HOSTS - 1) :]) | {host: level}
    return known if len(known) > 1 else None  # one host is that of the accepted value


def words(accepted: BaselineValue, host: str) -> str:
    """Say that a value was accepted on another host, and what that means; empty where it was not."""
    _, between = on_this_host(accepted, host)
    if not between:
        return ""
    count = len(accepted.hosts or {})
    how = f"measured on {count} hosts" if count >= LEAST_HOSTS else f"assumed until {LEAST_HOSTS} hosts are recorded"
    return (
        f"; accepted on another host of this machine profile, so {100 * between:.1f} % of noise between hosts is "
        f"added ({how})"
    )
