"""What a planted bug is, and the tests that should catch it."""

from dataclasses import dataclass, field


@dataclass
class Bug:
    name: str
    file: str
    # A piece of that file which stands there exactly once. What is between ⟦ and ⟧, an expression or whole statements, …
    text: str
    # … becomes this while the bug is on.
    new: str
    # The tests that should catch it, as a filter of `cargo nextest run`; and the environment of that.
    run: str = ""
    environment: dict = field(default_factory=dict)
    # More places of the same bug: (file, text, new).
    also: tuple = ()
    # Only `make loom` can see it: the name of the check that should, or a part of it.
    loom: str = ""
    # For what is redundant by design: why leaving it out costs nothing.
    why: str = ""

    def places(self):
        """Where it is planted: (file, what stands there, where in that the bug begins, what it replaces, what it makes of it)."""
        for name, text, new in [(self.file, self.text, self.new), *self.also]:
            before, rest = text.split("⟦")
            old, after = rest.split("⟧")
            yield name, before + old + after, len(before), old, new


def switched(old, new, number):
    """Both, of which `planted` decides: statements as a block, an expression in parentheses."""
    both = f"if crate::planted({number}) {{ {new} }} else {{ {old} }}"
    return f"{{ {both} }}" if old.endswith((";", "}")) else f"({both})"


def unit(test):
    """A test of the library itself, by a part of its name."""
    return f"(kind(lib) & test({test}))"


def file(name, test):
    """A test of a file in `tests/`."""
    return f"(binary({name}) & test({test}))"


def crashes(workload, lock="file"):
    """States that a crash may leave of some workloads, fewer of them than `make test` makes: see docs/reliability.md."""
    fewer = {"TALLYFOLD_CRASH_ALL": "8", "TALLYFOLD_CRASH_SAMPLES": "1", "TALLYFOLD_CRASH_AGAIN": "0"}
    return {
        "run": unit(f"no_crash_loses_what_was_promised_with_the_lock_class_{lock}"),
        "environment": {"TALLYFOLD_CRASH_ONLY": workload, **fewer},
    }
