"""An agent in a plain script: run it as often as you like, it keeps its store.

python examples/script_agent.py ./store "The app crashes on start"
"""

import asyncio
import sys

from greenroom import Agent, NodeContext, StateScope

agent = Agent("triage", goal="Label every ticket")


@agent.function
def plus_one(count: int | None) -> int:
    return (count or 0) + 1


@agent.node(outputs=["label"], then="count")
def classify(title: str) -> str:
    return "bug" if "crash" in title.lower() else "question"


@agent.node(outputs=["number"])
async def count(label: str, ctx: NodeContext) -> int:
    key = f"count:{label}"
    await ctx.update(key, plus_one, scope=StateScope.GLOBAL)
    number: int = await ctx.read(key, scope=StateScope.GLOBAL)
    return number


async def main(store: str, title: str) -> None:
    async with agent.runtime(store) as runtime:
        print(f"unfinished work found: {runtime.recovery.total}")
        result = await runtime.trigger_and_wait("default", {"title": title})
        assert result is not None  # None would mean that a timeout passed
        print(f"{result.status}: {result.output['label']} number {result.output['number']}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
