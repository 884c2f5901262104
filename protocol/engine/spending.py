"""What an execution has used of its budget, and what happens when it needs more."""

from typing import Any, Final

import msgspec

from greenroom.protocol.budget import Budget, BudgetPart, OnBreach, Spent
from greenroom.protocol.engine.draft import Draft
from greenroom.protocol.engine.opening import await_answers, open_question
from greenroom.protocol.engine.text import bounded_text
from greenroom.protocol.execution import Phase, Status, Token
from greenroom.protocol.limits import BUDGET_WALL_S_MAX, STEPS_MAX
from greenroom.protocol.questions import AskedQuestion
from greenroom.protocol.values import decode_value, encode_value

_UNITS: Final[dict[BudgetPart, str]] = {"steps": "steps", "wall_s": "seconds"}
_MORE: Final[dict[BudgetPart, dict[str, Any]]] = {
    "steps": {"type": "integer", "minimum": 1, "maximum": STEPS_MAX},
    "wall_s": {"type": "number", "exclusiveMinimum": 0, "maximum": BUDGET_WALL_S_MAX},
}
ANSWER_SCHEMAS: Final = {
    part: msgspec.Raw(encode_value({"anyOf": [{"type": "boolean"}, more]}))
    for part, more in _MORE.items()
}
"""JSON Schema of what a person may say who is asked for more, by part of the budget."""


def used_up(draft: Draft, token_id: int | None = None) -> Spent | None:
    """Say which part of the budget is used up, as the transition stands; None while none is.

    The runs of other tokens than `token_id` that are under way count as if they had ended; without
    one none does.
    """
    budget, state = draft.budget, draft.state
    if budget is None:
        return None
    runs = state.node_runs + draft.node_runs
    if token_id is not None and draft.parallel is not None:
        runs += sum(
            token.phase is Phase.RUNNING
            for one, token in draft.standing_tokens().items()
            if one != token_id
        )
    return budget.used_up(runs, state.wall_s + draft.ran_s())


def breach(draft: Draft, token_id: int, token: Token, spent: Spent) -> None:
    """The execution may not run the token's node any more: it ends, is paused, or asks for more,
    and its token stays there.
    """
    assert draft.budget is not None, "a part of it is used up"
    match draft.budget.on_breach:
        case OnBreach.PAUSE:
            text = _text(draft, token.node, spent)
            draft.pause(token.node, text)
            draft.error = text
        case OnBreach.ASK:
            at_rest = draft.stop_run(token_id, token)
            if not draft.asks_for_budget():
                question = _question(draft, draft.budget, token, spent)
                open_question(draft, token_id, at_rest, question)
            await_answers(draft, token_id, at_rest)
        case _:
            draft.stop(Status.EXHAUSTED, _text(draft, token.node, spent))


def exhaust(draft: Draft, part: BudgetPart, node_id: str) -> None:
    """End an execution that gets no more of a part of its budget, at that node."""
    budget = draft.budget
    assert budget is not None, "it needs more"
    text = f"its budget of {budget.limit_of(part)} {_UNITS[part]} is used up"
    spent = used_up(draft) or Spent(part, text)
    draft.stop(Status.EXHAUSTED, _text(draft, node_id, spent))


def extend(draft: Draft, part: BudgetPart, answer: msgspec.Raw) -> bool:
    """Give the execution what a person grants; False when that is nothing.

    `answer` fits the part's schema in ANSWER_SCHEMAS: true for as much again, false, or how much.
    """
    said, budget = decode_value(answer), draft.budget
    assert budget is not None, "whoever gives it another one closes the question"
    if said is False:
        return False
    draft.budget = budget.extended(part, budget.limit_of(part) if said is True else said)
    return True


def renew(draft: Draft, budget: Budget) -> None:
    """Give the execution another budget: whether it may go on is not asked of the old one."""
    draft.budget = budget
    for question in draft.state.questions.values():
        if question.budget is not None:
            draft.close_questions(question.token)


def _text(draft: Draft, node_id: str, spent: Spent) -> str:
    node = draft.plan.nodes.get(node_id)  # None: a later graph has it no more
    name = node_id if node is None else node.name
    return f"{spent.why}, at node {name!r}"


def _question(draft: Draft, budget: Budget, token: Token, spent: Spent) -> AskedQuestion:
    text = bounded_text(_text(draft, token.node, spent))
    again = f"{budget.limit_of(spent.part)} {_UNITS[spent.part]}"
    return AskedQuestion(
        prompt=(
            f"Execution {draft.accepted.execution_id} cannot go on: {text}. May it? "
            f"true: with {again} more; a number: with that many more; false: it ends."
        ),
        to="",
        schema=ANSWER_SCHEMAS[spent.part],
        budget=spent.part,
    )
