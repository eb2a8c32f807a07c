"""Answers to the exercises as learners write them, right ones and wrong ones, each with what the check should say.

    @right("q_sample", "in one line")                          # must pass
    @wrong("q_sample", "no roots", "no roots")                 # must not, and its mistake has this name; None: no name
    @edge("q_sample", "as a numpy array", "form")              # this is what is decided about it
"""
ANSWERS = []                                                   # (kind, exercise, why, mistake, function)


def _register(kind):
    def registering(exercise, why, mistake=None):
        def decorate(function):
            ANSWERS.append((kind, exercise, why, mistake, function))
            return function
        return decorate
    return registering


right, wrong, edge = _register("right"), _register("wrong"), _register("edge")
