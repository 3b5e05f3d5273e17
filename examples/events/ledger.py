"""From events to balances: the same events give the same balances, whoever asks and however often."""

from collections import Counter

from store import BEGINNING, Event, EventStore


class Refused(Exception):
    """An event that can't follow from those before it."""


class Ledger:
    def __init__(self) -> None:
        self.balances: Counter[str] = Counter()
        self.last = BEGINNING
        """The ID of the last event in the balances."""
        self.events = 0

    def apply(self, id: str, event: Event) -> None:
        amount = int(event["amount"])
        if "from" in event:
            self.balances[event["from"]] -= amount
        if "to" in event:
            self.balances[event["to"]] += amount
        self.last = id
        self.events += 1

    def catch_up(self, store: EventStore) -> "Ledger":
        for id, event in store.since(self.last):
            self.apply(id, event)
        return self

    def check(self, event: Event) -> Event:
        """The event, if it may happen now."""
        amount = int(event["amount"])
        if amount <= 0:
            raise Refused("the amount must be above 0")
        payer = event.get("from")
        if payer is not None and self.balances[payer] < amount:
            raise Refused(f"{payer} has {self.balances[payer]}")
        return event

    def __str__(self) -> str:
        return ", ".join(f"{name} {balance}" for name, balance in sorted(self.balances.items())) or "nobody has anything"
