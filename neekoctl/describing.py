"""Registry rows as the documents that `--json` prints. Knows no screen and no model."""

from typing import Any

from registry.lineage import Ancestor, ancestry
from registry.store import Registry
from registry.tables import Bank, Character


def listed(registry: Registry) -> list[dict[str, Any]]:
    """Every live character, in the order of the ranges."""
    handles = registry.handles()
    return [summary(row, handles.get(row.id, [row.name])) for row in registry.characters(brief=True)]


def summary(row: Character, handles: list[str]) -> dict[str, Any]:
    """One line of `list`."""
    return {
        "name": row.name,
        "aliases": handles[1:],
        "strategy": row.strategy,
        "rank_start": row.start,
        "rank_stop": row.stop,
        "status": row.status,
        "block": row.block,
        "created_at": row.created_at,
    }


def details(registry: Registry, row: Character) -> dict[str, Any]:
    """All that `show --json` tells."""
    certificate = registry.certificate(row)
    return {
        **summary(row, registry.handles().get(row.id, [row.name])),
        "base": registry.bank_of(row).base,
        "description": row.description,
        "recipe": row.recipe,
        "seed": row.seed,
        "reason": row.reason,
        "metrics": row.metrics,
        "environment": row.environment,
        "data_digests": row.data_digests,
        "system_message": row.system_message,
        "encoder": row.encoder,
        "block_folder": str(registry.blocks.path(row.block)) if row.block else None,
        "parents": [_parent(each) for each in ancestry(registry, row)],
        "probes": [{"prompt": probe.prompt[-1]["content"], "nll": probe.nll, "reply": probe.reply_text}
                   for probe in registry.probes(row)],
        "certificate": None if certificate is None else
                       {"others": certificate.others, "identical": certificate.identical, **certificate.evidence},
    }  # fmt: skip


def _parent(ancestor: Ancestor) -> dict[str, Any]:
    return {"character": ancestor.name, "block": ancestor.block, "weight": ancestor.weight, "state": ancestor.state,
            "parents": [_parent(each) for each in ancestor.parents]}  # fmt: skip


def ranked(registry: Registry, bank: Bank) -> dict[str, Any]:
    """A bank: who owns which ranges and what is free."""
    owners, free = registry.ranges(bank)
    return {
        "base": bank.base,
        "capacity": bank.capacity,
        "used": sum(row.ranks.rank for row in owners),
        "ranges": [{"character": row.name, "start": row.start, "stop": row.stop} for row in owners],
        "free": [list(gap) for gap in free],
    }
