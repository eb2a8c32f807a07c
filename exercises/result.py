"""What a check found, and how a notebook shows it."""
import re
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

WORDS = {True: "right", False: "not right yet", None: "not done yet"}
LOOKS = {True: ("✓", "#009E73"), False: ("✗", "#D55E00"), None: ("…", "#0072B2")}      # decoration: the words say all


@dataclass(frozen=True, eq=False)
class Result:
    """The result of one check: .ok is True (right), False (not right yet) or None (not done yet), .hint says why.

    mistake: the name of the known mistake that the answer makes, or None
    example: (arguments, index, expected, found), the counter-example to a wrong answer whose mistake is not known
    function: what was checked;  where: (file of the notebook, heading of the section), or None
    """
    name: str
    ok: bool | None
    hint: str
    mistake: str | None = None
    example: tuple | None = None
    function: object = None
    where: tuple | None = None

    def function_or(self, solution):
        """The function to go on with: the learner's if it passed the check, else solution.

            q_sample = result.function_or(q_sample)            # after the cell with the solution
        """
        return self.function if self.ok else solution

    def __repr__(self):
        see = f"See notebook {self.where[0][:2]}, “{self.where[1]}”." if self.where else ""
        gap = "\n" if "\n" in self.hint else " "
        return f"{self.name}: {WORDS[self.ok]}. {self.hint}{gap * bool(see)}{see}"

    def _repr_html_(self):
        sign, colour = LOOKS[self.ok]
        see = ""
        if self.where:
            notebook, section = self.where
            link = f"{notebook}#{quote(section.replace(' ', '-'))}"
            gap = "<br>" if "\n" in self.hint else " "
            see = f'{gap}See <a href="{escape(link)}">notebook {notebook[:2]}, “{escape(section)}”</a>.'
        return (f'<div role="status" style="border-left: 0.4em solid {colour}; padding: 0.3em 0.8em; '
                f'overflow-wrap: anywhere"><span aria-hidden="true" style="color: {colour}">{sign}</span> '
                f'<strong>{escape(self.name)}: {WORDS[self.ok]}.</strong> {as_html(self.hint)}{see}</div>')


def as_html(hint):
    """A hint as HTML: `code` in code type, a line that is indented by four spaces as a line of code."""
    html = []
    for line in hint.split("\n"):
        if line.startswith("    "):
            html.append(f'<br><code style="margin-left: 2em">{escape(line.strip())}</code>')
        else:
            html.append(("<br>" if html else "") + re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(line)))
    return "".join(html)
