"""What is judged after every kill, and at the end of the day: what is on disk, and what the outside has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec
from redis import Redis

from engine.app.config.load import Config
from engine.app.replay.journal_tools import rebuild
from engine.disk import OS_DISK
from engine.errors import AstraError
from engine.events import Bar, BarRejected, Record
from engine.journal import JournalReader
from engine.journal_format import encode_record, segments
from engine.ports import Effect
from engine.recovery import identity_of
from engine.sinks.messages import KINDS, EffectId, Wire, id_of
from engine.snapshots import SnapshotStore
from engine.state import to_bytes
from tests.campaign.day import INSTANCE

#: Ids and bodies by kind.
Entries: TypeAlias = dict[str, list[tuple[str, dict[str, Any]]]]
STREAMS: Final = tuple(sorted(set(KINDS.values())))


class Outcome(msgspec.Struct):
    """Everything that a day leaves, but for its epoch.

    Parameters
    ----------
    records : list of bytes
        Of the journal, encoded.
    bars : list of bytes
        Those of them that a feed gave.
    position : str
        Where the feed would resume.
    state : str
        SHA-256 of the state in the last snapshot.
    digest, journal_digest : str
        Of a replay of the journal from its beginning.
    entries : dict
        Ids and bodies of the entries of each Redis stream.
    alerts : list of dict
        Lines of ``alerts.jsonl``.
    """

    records: list[bytes]
    bars: list[bytes]
    position: str
    state: str
    digest: str
    journal_digest: str
    entries: Entries
    alerts: list[dict[str, Any]]


def read_journal(root: Path) -> list[bytes]:
    """Return the encoded records of a state folder's journal; none if there is none."""
    if not segments(root / "journal", OS_DISK):
        return []
    return [encode_record(record) for _, record in JournalReader(root / "journal")]


def after_kill(root: Path, redis: Redis, oracle: Outcome | None, at_least: int) -> tuple[int, str]:
    """Look at what a killed process left.

    Parameters
    ----------
    root : Path
        The state folder.
    redis : Redis
    oracle : Outcome or None
        Of the same day without a kill; None where the order of records is not its own.
    at_least : int
        Records that were found after the kill before.

    Returns
    -------
    int
        Records in the journal.
    str
        What is wrong; empty if nothing is.
    """
    try:
        records = read_journal(root)
    except AstraError as error:
        return 0, f"the journal cannot be read: {error.code} {error.what} {error.where}"
    seq = len(records)
    if seq < at_least:
        return seq, f"records {seq + 1} to {at_least} were there, and are lost"
    if oracle is not None and records != oracle.records[:seq]:
        at = _first_difference(records, oracle.records)
        pair = [msgspec.msgpack.decode(log[at]) for log in (records, oracle.records) if at < len(log)]
        return seq, f"record {at + 1} is another than in the day without a kill: {pair}"
    told = _newest_told(root, redis)
    for where, (told_seq, index) in told.items():
        if told_seq > seq:
            return seq, f"{where} has {told_seq}-{index}, and the journal ends at {seq}"
    return seq, ""


def _newest_told(root: Path, redis: Redis) -> dict[str, EffectId]:
    """Return the newest id that each place outside has."""
    epoch = identity_of(root)
    told: dict[str, EffectId] = {}
    if epoch is None:
        return {key.decode(): (1 << 62, 0) for key in redis.keys(f"astra:{INSTANCE}:2*")}
    for kind in STREAMS:
        newest: Any = redis.xrevrange(f"astra:{INSTANCE}:{epoch.epoch}:{kind}", count=1)
        if newest:
            told[kind] = id_of(newest[0][0].decode())
    for line in _alert_lines(root)[-1:]:
        told["alerts.jsonl"] = id_of(line["id"])
    return told


def _alert_lines(root: Path) -> list[dict[str, Any]]:
    """Return the whole lines of the file of alerts."""
    path = root / "alerts.jsonl"
    raw = path.read_bytes() if path.exists() else b""
    return [msgspec.json.decode(line) for line in raw[: raw.rfind(b"\n") + 1].splitlines()]


def outcome_of(config: Config, root: Path, redis: Redis) -> Outcome:
    """Read everything that a finished day left; what contradicts itself raises ``ValueError``."""
    identity = identity_of(root)
    if identity is None:
        raise ValueError("there is no journal")
    reader = JournalReader(root / "journal")
    log: list[tuple[int, Record]] = list(reader)
    snapshot = next(SnapshotStore(root / "snapshots", identity).newest_good(), None)
    if snapshot is None or snapshot.seq != len(log):
        raise ValueError(f"the last snapshot is not of record {len(log)}")
    payload = snapshot.payload
    last_ns = int(payload["loop"]["status"]["plain"]["ts_ns"])
    effects: list[Effect] = []
    loop = rebuild(config, identity, last_ns)
    loop.listener = lambda seq, _, events: effects.extend(
        Effect(seq, index, event) for index, event in enumerate(events)
    )
    journal_digest = loop.replay_journal(log)
    state = to_bytes(payload["loop"])
    if to_bytes(loop.state()) != state:
        raise ValueError("the state in the snapshot is not that of a replay of the journal")
    _check_accounts(loop, log)
    entries = {kind: _entries(redis, identity.epoch, kind) for kind in STREAMS}
    _check_effects(entries, effects, Wire(INSTANCE, identity.epoch, config.symbols))
    return Outcome(
        [encode_record(record) for _, record in log],
        [encode_record(record) for _, record in log if isinstance(record, Bar | BarRejected)],
        str(payload["position"]),
        state,
        loop.digest.hexdigest(),
        journal_digest,
        entries,
        [_without_epoch(line) for line in _alert_lines(root)],
    )


def _check_effects(entries: Entries, effects: list[Effect], wire: Wire) -> None:
    """Check that Redis holds the effects of the journal: each once, in order, and nothing else."""
    due: Entries = {kind: [] for kind in STREAMS}
    for effect in effects:
        if (kind := KINDS.get(type(effect.event))) is not None:
            body = msgspec.json.decode(wire.encode(effect))
            due[kind].append((body["id"], _without_epoch(body)))
    for kind in STREAMS:
        if entries[kind] != due[kind]:
            at = _first_difference(entries[kind], due[kind])
            raise ValueError(
                f"stream {kind} has {len(entries[kind])} entries for {len(due[kind])} effects; at {at + 1}: "
                f"{entries[kind][at : at + 1]} for {due[kind][at : at + 1]}"
            )


def _check_accounts(loop: Any, log: list[tuple[int, Record]]) -> None:
    """Check that every bar of the journal is accepted, rejected, pending or waiting."""
    received = sum(
        1 if isinstance(record, Bar) else record.count
        for _, record in log
        if isinstance(record, Bar | BarRejected)
    )
    known = loop.status.accounted + loop.bus.intake.waiting
    if received != known or received != loop.bus.intake.received:
        raise ValueError(f"{received} bars received, {known} accounted for")


def _entries(redis: Redis, epoch: str, kind: str) -> list[tuple[str, dict[str, Any]]]:
    found: Any = redis.xrange(f"astra:{INSTANCE}:{epoch}:{kind}")
    return [_entry(*entry) for entry in found]


def _entry(id_: bytes, fields: dict[bytes, bytes]) -> tuple[str, dict[str, Any]]:
    body = msgspec.json.decode(fields[b"message"])
    if body["id"] != id_.decode():
        raise ValueError(f"entry {id_.decode()} holds the message {body['id']}")
    return id_.decode(), _without_epoch(body)


def _without_epoch(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "epoch"}


def difference(found: Outcome, oracle: Outcome, names: Sequence[str]) -> str:
    """Say in which of the named fields a day differs from the one without a kill; empty if in none."""
    for name in names:
        mine, other = getattr(found, name), getattr(oracle, name)
        if mine == other:
            continue
        if isinstance(mine, dict):
            kind = next(kind for kind in mine if mine[kind] != other[kind])
            mine, other = mine[kind], other[kind]
        if isinstance(mine, list):
            at = _first_difference(mine, other)
            return (
                f"{name}: {len(mine)} for {len(other)}, the first that differs is number {at + 1}: "
                f"{mine[at : at + 1]} for {other[at : at + 1]}"[:600]
            )
        return f"{name}: {mine} for {other}"
    return ""


def _first_difference(mine: list[Any], other: list[Any]) -> int:
    return next(
        (k for k, (a, b) in enumerate(zip(mine, other, strict=False)) if a != b),
        min(len(mine), len(other)),
    )
