"""The paired test's error rates as Markdown."""

from tabulate import tabulate

from quantbench.records import FlipRate


def render(found: list[FlipRate]) -> str:
    """One table: how often a rule is red, of true losses and of changes that are none."""
    rules = list(found[0].red)
    rows = [
        [
            f"{one.net} net" if one.net else "none, by the toss of a coin",
            str(one.discordant),
            str(one.trials),
            *(f"{100 * one.red[rule] / one.trials:.1f} %" for rule in rules),
        ]
        for one in found
    ]
    headers = ["examples lost", "changed in all", "trials", *(f"red: {rule}" for rule in rules)]
    table = tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)
    return f"## Flipped answers\n\nReal predictions with answers flipped at random, judged for real:\n\n{table}\n"
