"""The bank's counter: python3 events/bank.py deposit|withdraw|transfer|balances|follow …"""

import sys

from ledger import Ledger, Refused
from store import Event, EventStore

STREAM = "bank:events"
USAGE = """\
usage: bank.py deposit NAME AMOUNT
       bank.py withdraw NAME AMOUNT
       bank.py transfer FROM TO AMOUNT
       bank.py balances
       bank.py follow"""


def record(store: EventStore, event: Event) -> None:
    ledger = Ledger()
    # A second attempt reads only what came since the first.
    id = store.append(lambda: ledger.catch_up(store).check(event))
    ledger.apply(id, event)
    print(f"{event['type']}: {ledger}")


def follow(store: EventStore) -> None:
    ledger = Ledger().catch_up(store)
    print(f"{ledger.events} events: {ledger}", flush=True)
    for id, event in store.follow(ledger.last):
        ledger.apply(id, event)
        print(f"{event['type']}: {ledger}", flush=True)


def main(words: list[str]) -> None:
    store = EventStore(STREAM)
    match words:
        case ["deposit", name, amount]:
            record(store, {"type": "deposit", "to": name, "amount": amount})
        case ["withdraw", name, amount]:
            record(store, {"type": "withdraw", "from": name, "amount": amount})
        case ["transfer", payer, payee, amount]:
            record(store, {"type": "transfer", "from": payer, "to": payee, "amount": amount})
        case ["balances"]:
            ledger = Ledger().catch_up(store)
            print(f"{ledger.events} events: {ledger}")
        case ["follow"]:
            follow(store)
        case _:
            sys.exit(USAGE)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Refused as refused:
        sys.exit(f"refused: {refused}")
    except KeyboardInterrupt:
        pass
