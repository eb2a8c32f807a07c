"""One exercise: its prompt, its solution, the inputs it is tried with, and the mistakes it knows.

An answer is judged by its numbers alone: they are compared with those of the solution and of every known mistake.
A mistake is named only where its numbers agree on all inputs.

    @exercise("In one jump", example=[...], inputs=...)        # -> q_sample is an Exercise, called as check.q_sample(f)
    def q_sample(x0, t, eps, alpha_bar):
        '''The prompt, as Markdown.'''
        ...the solution...

    q_sample.mistakes = {"no roots": (a wrong function, "what to say to it"), ...}
"""
import ast
import copy
import inspect
import textwrap
import zlib

import torch

from exercises import sandbox
from exercises.comparison import argument_lines, close, difference, difference_in_words, numbers, shown, size
from exercises.result import Result
from exercises.sandbox import TimeUp, error_in_words, same, unchanged


RAISES = "an error"                                            # in the place of a known mistake's answer


class Draw:
    """Seeded inputs, rounded to two decimals so that a counter-example can show them exactly."""

    def __init__(self, seed):
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape, low=-1.7, high=1.7):
        """Numbers between low and high, none of them 0; by default some lie outside of [-1, 1]."""
        x = torch.rand(*shape, generator=self.generator) * (high - low) + low
        return (x * 100).round().div(100).where((x * 100).round() != 0, 0.01)

    def mask(self, *shape):
        """Zeros and ones."""
        return (torch.rand(*shape, generator=self.generator) < 0.5).float()


class Exercise:
    """An exercise that checks an answer: check.NAME(function) -> Result.  Made by exercise().

    solution: the right function; its docstring is the prompt, its arguments are those of the stub
    mistakes: {name: (wrong function, hint)}, in the order in which they are tried
    accepted: {name: (function, what to say)}, other right answers, whose numbers differ from the solution's
    """

    def __init__(self, solution, section, example, inputs, *, noise, read, entries, examine, for_example):
        self.solution = solution
        self.section = section
        self.example = example
        self.inputs = inputs
        self.noise = noise
        self.read = read
        self.entries = entries
        self.examine = examine
        self.for_example = for_example
        self.name = solution.__name__
        self.module = solution.__module__
        self.notebook = self.module.rpartition(".")[2][2:4]    # "02", of exercises.nb02_forward_noising
        self.file = self.module.rpartition(".")[2][2:] + ".ipynb"
        self.prompt = inspect.getdoc(solution)
        self.arguments = list(inspect.signature(solution).parameters)
        self.mistakes = {}
        self.accepted = {}
        self.known = None
        self.__doc__ = f"{self.prompt}\n\nNotebook {self.notebook}, “{section}”: check.{self.name}(your_function)"

    def __repr__(self):
        return f"check.{self.name}: {self.prompt}"

    @property
    def stub(self):
        """The cell that a learner fills in; my_, since no notebook may redefine what a helper defines."""
        return f"def my_{self.name}({', '.join(self.arguments)}):\n    ..."

    def source(self, name=None):
        """The solution as code, without decorator and prompt; name: what to call it."""
        lines = textwrap.dedent(inspect.getsource(self.solution)).splitlines()
        node = ast.parse("\n".join(lines)).body[0]
        own = [f"@{ast.unparse(d)}" for d in node.decorator_list if not ast.unparse(d).startswith("exercise(")]
        body = lines[node.body[1].lineno - 1:]                 # what follows the docstring
        head = lines[node.lineno - 1:node.body[0].lineno - 1]
        head[0] = head[0].replace(self.name, name or self.name, 1)
        return "\n".join([*own, *head, *body])

    def imports(self):
        """The imports of its module that the solution needs, a line each."""
        used = {node.id for node in ast.walk(ast.parse(self.source())) if isinstance(node, ast.Name)}
        module = ast.parse(inspect.getsource(inspect.getmodule(self.solution)))
        return [ast.unparse(node) for node in module.body if isinstance(node, ast.Import)
                and used & {alias.asname or alias.name for alias in node.names}]

    def example_in_words(self):
        """The worked example as Markdown: the arguments in code type, and what they give."""
        if self.for_example:
            return f"For example, {self.for_example}"
        given = ", ".join(f"`{name} = {shown(value)}`" for name, value in zip(self.arguments, self.example))
        with unchanged():
            torch.manual_seed(0)
            return f"For example, {given} gives `{shown(self.solution(*copy.deepcopy(self.example)))}`."

    def ask(self, function, case, seed=0):
        """What a function returns for a copy of the arguments, as seen by read or examine.  Draws are repeatable."""
        case = copy.deepcopy(case)
        torch.manual_seed(seed)
        return self.seen(function(*case), case)

    def ask_wrong(self, function, case):
        """The same of a known mistake, which may raise an error on some inputs, as learners' functions do."""
        try:
            return self.ask(function, case)
        except RuntimeError:                                   # torch's: shapes that do not fit
            return RAISES

    def seen(self, answer, case):
        """An answer as it is compared: itself, what read makes of it, or the word of examine."""
        look = self.examine or self.read
        return look(answer, case) if look else answer

    def prepared(self):
        """(cases, the solution's answers, {mistake or accepted: its answers}), made once; the example comes first."""
        if self.known is None:
            with unchanged():
                cases = [tuple(self.example), *self.inputs(Draw(zlib.crc32(self.name.encode())))]
                others = {name: [self.ask_wrong(function, case) for case in cases]
                          for name, (function, _) in (self.accepted | self.mistakes).items()}
                self.known = cases, [self.ask(self.solution, case) for case in cases], others
        return self.known

    def __call__(self, function=None):
        self.prepared()                                        # outside of the net, for an error here is the exercise's
        try:
            with unchanged():
                return self.judge(function)
        except (Exception, TimeUp) as error:                   # a net: what a learner wrote must not stop the notebook
            return self.found(False, f"What your function returns cannot be read ({type(error).__name__}).", function)

    def found(self, ok, hint, function, mistake=None, example=None):
        """A Result; one that is not right says where in the notebook to look."""
        where = (self.file, self.section) if ok is False else None
        return Result(self.name, ok, hint, mistake, example, function, where)

    def judge(self, function):
        """The Result of a check."""
        refused = self.refused(function)
        if refused:
            return refused
        answers, remarks, stopped = self.run_all(function)
        if stopped:
            return stopped
        if self.examine:
            return self.examined(function, answers, remarks)
        solutions = self.prepared()[1]
        pairs = []
        for answer, solution in zip(answers, solutions):
            x, odd = numbers(answer, solution, gradients=self.read is not None)
            pairs.append(x)
            remarks += [remark for remark in odd if remark not in remarks]
        if any(x is None for x in pairs):
            return self.found(False, f"Look at what your function returns: {'; '.join(remarks)}.", function, "form")
        return self.compared(function, pairs, remarks)

    def refused(self, function):
        """The Result where what was handed over is no function, or one that cannot take the arguments; else None."""
        names = ", ".join(f"`{name}`" for name in self.arguments)
        if function is None or function is ...:
            return self.found(None, f"Write the function, then hand it over by its name: check.{self.name}"
                                    f"(my_{self.name}).", function)
        if not callable(function):
            return self.found(False, f"This is a {type(function).__name__}, but the check wants the function itself, "
                                     f"without a call: `check.{self.name}(my_{self.name})`.", function)
        try:
            inspect.signature(function).bind(*self.prepared()[0][0])
        except TypeError:
            return self.found(False, f"Your function cannot take the arguments that the check gives it, "
                                     f"{len(self.arguments)} in this order: {names}.", function)
        except ValueError:
            pass                                               # some built-in functions do not say what they take
        return None

    def run(self, function, case, seed=0):
        """(answer, None, whether the arguments were changed), or (None, a Result saying what went wrong, False)."""
        mine = copy.deepcopy(case)
        called = "It was called with\n" + "\n".join(argument_lines(self.arguments, case))
        torch.manual_seed(seed)
        try:
            answer = sandbox.limited(function, mine)
        except TimeUp:
            return None, self.found(False, f"Your function was stopped after {sandbox.LIMIT:g} seconds, and it should "
                                           f"need almost none: does a loop never end?\n{called}", function), False
        except BaseException as error:                         # exit() and the like are no Exception
            if isinstance(error, NotImplementedError) and not error.args:
                return None, None, False                       # a stub's own; torch gives its errors a message
            return None, self.found(False, f"Your function stopped with {error_in_words(error, function)}\n{called}",
                                    function), False
        touched = not same(list(case), list(mine))
        if answer is None or answer is ...:
            return None, None, touched
        return self.seen(answer, mine), None, touched

    def run_all(self, function):
        """(answers, remarks, None) of all cases, or (…, …, a Result) where there is nothing to be compared."""
        answers = []
        remarks = []
        for case in self.prepared()[0]:
            answer, stopped, touched = self.run(function, case)
            if stopped:
                return answers, remarks, self.named_so_far(function, answers) or stopped
            if touched and not remarks:
                remarks.append("your function changes its arguments in place, which whoever calls it may still need")
            answers.append(answer)
        if all(answer is None for answer in answers):
            return answers, remarks, self.found(None, "Your function returns nothing so far. If you have written it "
                                                      "already, its last line needs a return.", function)
        if any(answer is None for answer in answers):
            return answers, remarks, self.found(False, "For some arguments your function returns nothing: one of its "
                                                       "branches lacks a return.", function)
        return answers, remarks, None

    def named_so_far(self, function, answers):
        """The Result of a known mistake that gives the same numbers up to here, and then raises an error; or None."""
        _, solutions, others = self.prepared()
        if self.examine or not answers or any(answer is None for answer in answers):
            return None
        found = [numbers(answer, solution, True)[0] for answer, solution in zip(answers, solutions)]
        for name, wrong in others.items():
            until = next((i for i, y in enumerate(wrong) if y is RAISES), None)
            if until != len(found):
                continue
            if all(x is not None and close(x, torch.as_tensor(y)) for x, y in zip(found, wrong)):
                return self.found(False, self.mistakes[name][1], function, name)
        return None

    def examined(self, function, answers, remarks):
        """The Result where examine has given a word for each case: the name of a mistake, or "right"."""
        name = next((name for name in answers if name != "right"), None)
        if name:
            return self.found(False, self.mistakes[name][1], function, name)
        if remarks:
            return self.found(False, f"The result is right, but {'; '.join(remarks)}.", function, "form")
        return self.found(True, "It does what it should.", function)

    def compared(self, function, found, remarks):
        """The Result of comparing numbers with those of the solution and of the known mistakes."""
        cases, solutions, others = self.prepared()

        def agrees(other):
            return all(y is not RAISES and close(x, torch.as_tensor(y)) for x, y in zip(found, other))

        but = "; ".join(remarks)
        also = f" Besides, {but}." if but else ""
        name = next((name for name, other in {"": solutions, **others}.items() if agrees(other)), None)
        if name is None:
            return self.counter_example(function, found, also)
        if name in self.accepted or not name:
            if but:
                return self.found(False, f"The numbers are right, but {but}.", function, "form")
            said = self.accepted[name][1] if name else f"It agrees with the solution on {len(cases)} sets of inputs."
            pairs = [(x.dtype, y.dtype) for x, y in zip(found, solutions) if torch.is_tensor(y)]
            if any(x == torch.float64 and y != torch.float64 for x, y in pairs):
                said += " Yours is float64; networks want float32, which takes half the memory."
            return self.found(True, said, function)
        return self.found(False, self.mistakes[name][1] + also, function, name)

    def draws(self, function, case, x, solution):
        """Whether a function that gave x gives something else when it is called again: it draws random numbers."""
        for seed in (1, 2, 3):
            again = self.run(function, case, seed)[0]
            again = None if again is None else numbers(again, solution)[0]
            if again is not None and again.shape == x.shape and not torch.equal(again.nan_to_num(), x.nan_to_num()):
                return True
        return False

    def counter_example(self, function, found, also):
        """The Result for a mistake that is not known: the smallest inputs that show it, expected and found."""
        cases, solutions, _ = self.prepared()
        expected = [torch.as_tensor(y) for y in solutions]
        wrong = [i for i, (x, y) in enumerate(zip(found, expected)) if not close(x, y)]
        i = min(wrong, key=lambda j: size(cases[j]))
        x = found[i]
        y = expected[i]
        if self.draws(function, cases[i], x, solutions[i]):
            given = " and ".join(f"`{name}`" for name in self.noise)
            use = f"Use the {given} that you are given." if given else "Nothing is to be drawn here."
            return self.found(False, f"Called twice with the same arguments, your function gives two results: it draws "
                                     f"random numbers. {use}{also}", function, "own noise")
        if x.shape != y.shape:
            lines = argument_lines(self.arguments, cases[i])
            wanted = torch.as_tensor(self.solution(*copy.deepcopy(cases[i]))).shape if self.read else y.shape
            say = f"the result should have the shape `{tuple(wanted)}`; yours has `{tuple(x.shape)}`.{also}"
            return self.found(False, "\n".join(["For", *lines, say]), function)
        if x.is_complex():
            return self.found(False, f"Your result holds complex numbers.{also}", function)
        index, wanted, got = difference(x, y)
        lines = argument_lines(self.arguments, cases[i], index, y.shape)
        say = difference_in_words(index, wanted, got, self.entries)
        return self.found(False, "\n".join(["For", *lines, say + also]), function, None, (cases[i], index, wanted, got))


def exercise(section, *, example, inputs, noise=(), read=None, entries=None, examine=None, for_example=None):
    """Make an Exercise of the solution below it.

    section: the heading in the notebook under which it stands
    example: the arguments of the worked example, which is also the first thing that is tried
    inputs: (draw) -> more lists of arguments; see Draw.  They must tell every known mistake from the solution
    noise: the names of the arguments that hold what is random, for those who draw random numbers of their own
    read: (what a function returned, its arguments) -> the numbers that are compared, where that is not the result
    entries: what each entry of those numbers is, in words
    examine: (what a function returns, its arguments) -> "right" or the name of a mistake, for results that are drawn
    for_example: the worked example in words, where that of the arguments would be too long
    """
    def decorate(solution):
        return Exercise(solution, section, example, inputs, noise=noise, read=read, entries=entries, examine=examine,
                        for_example=for_example)
    return decorate
