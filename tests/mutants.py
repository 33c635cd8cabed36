"""Changes the code that guards the promises a little, and tells which changes no unit test notices.

Run as `python -m tests.mutants [COUNT] [--seed SEED] [--only NAME]`, which `make mutants` does, for all or for a
random sample. What is changed, and which tests may notice it, stands in pyproject.toml, `[tool.mutmut]`; the changed
copies stay in mutants/. It fails where fewer than nine of ten were noticed.
"""

import argparse
import random
import subprocess
import sys

NOTICED = {"killed", "timeout"}
"""What mutmut says of a change that made a test fail, or never end."""
ENOUGH = 0.9


def mutmut(*arguments: str, check: bool = True) -> str:
    """Run mutmut and return what it printed."""
    command = [sys.executable, "-m", "mutmut", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and done.returncode:
        sys.exit(f"mutmut {arguments[0]} exited with {done.returncode}:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return done.stdout


def results() -> dict[str, str]:
    """Return what became of each change, by its name."""
    lines = (line.strip().partition(": ") for line in mutmut("results", "--all", "true").splitlines())
    return {name: status for name, colon, status in lines if colon}


def main() -> None:
    """Make the changes, run the tests on a sample of them, and print what none noticed."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("count", type=int, nargs="?", help="how many; all when it is left out")
    parser.add_argument("--seed", type=int, default=random.randrange(1000), help="of the sample")  # noqa: S311
    parser.add_argument("--only", default="", help="part of the names, such as tenancy.binding")
    asked = parser.parse_args()
    # It makes the changes before it looks for those to try, and ends because none has this name.
    mutmut("run", "none", check=False)
    names = [name for name in results() if asked.only in name]
    count = len(names) if asked.count is None else min(asked.count, len(names))
    sample = random.Random(asked.seed).sample(names, count)  # noqa: S311
    mutmut("run", *sample)
    found = results()
    survived = sorted(name for name in sample if found[name] not in NOTICED)
    for name in survived:
        print(mutmut("show", name))
    print(f"{count - len(survived)} of {count} changes were noticed; --seed {asked.seed} tries the same again")
    sys.exit(len(survived) > (1 - ENOUGH) * count)


if __name__ == "__main__":
    main()
