"""Supervised actors of your own, with or without an agent beside them.

python examples/own_actors.py
"""

import msgspec

from greenroom import Actor, ActorSystem, ChildSpec, InvalidInput, SupervisorSpec


class Deposit(msgspec.Struct, frozen=True, tag="deposit"):
    amount: int


class Balance(msgspec.Struct, frozen=True, tag="balance"):
    pass


class Account(Actor[Deposit | Balance]):
    """Its messages are typed and copied; it serves one at a time."""

    messages = Deposit | Balance

    def on_start(self) -> None:
        self.total = 0

    def handle(self, message: Deposit | Balance) -> dict[str, int]:
        match message:
            case Deposit(amount=amount) if amount <= 0:
                raise InvalidInput("a deposit is positive")  # a refusal: only the asker notices
            case Deposit(amount=amount):
                self.total += amount
            case Balance():
                pass
        return {"total": self.total, "incarnation": self.incarnation}


def main() -> None:
    bank = SupervisorSpec(
        "bank",
        children=(ChildSpec("ann", Account), ChildSpec("bob", Account)),
        strategy="one_for_one",
        restarts_max=3,
        window_s=5.0,
    )
    with ActorSystem("example") as system:
        system.supervise(bank)
        ann = system.ref("bank/ann")
        assert ann is not None
        ann.tell(Deposit(amount=5))
        print(ann.ask(Balance(), timeout=5).get())
        try:
            ann.ask(Deposit(amount=-1), timeout=5).get()
        except InvalidInput as error:
            print(f"refused: {error}")
        ann.kill()  # a crash: the supervisor starts the next instance on the same address
        print(ann.ask(Balance(), timeout=5).get())


if __name__ == "__main__":
    main()
