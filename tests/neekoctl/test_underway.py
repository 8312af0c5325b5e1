"""What a long training must survive, and what it must not."""

import pytest

from neekoctl import underway
from registry.errors import LeaseLost, RegistryBusy
from registry.store import Registry


def test_a_busy_registry_does_not_end_a_training_and_a_lost_lease_does(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = registry.bank("base", "fingerprint", capacity=64)
    held = registry.reserve(bank, "Moth", [], 8, "expand")
    monkeypatch.setattr(underway, "RENEW_SECONDS", 0.0)
    renew = underway.renewing(registry, [held])
    renew()
    with monkeypatch.context() as patch:
        patch.setattr(registry, "renew", lambda _: (_ for _ in ()).throw(RegistryBusy("busy")))
        renew()
    registry.release(held)
    with pytest.raises(LeaseLost):
        renew()
