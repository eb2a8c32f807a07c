"""The exercises of the notebooks, one file for each notebook, and what checks the answers.

    from exercises import check
    check.q_sample(my_q_sample)                                # -> a Result, the last line of a cell

check.py lists all exercises.  nb02_forward_noising.py holds those of notebooks/02_forward_noising.ipynb: prompt,
solution, test inputs, and the known mistakes with their hints.  The engine is exercise.py with result.py (what is
shown), sandbox.py (running a learner's code) and comparison.py (comparing its results).  zoo/ is the bug zoo of
notebook 09, diagnose.py examines a whole model.  This package may import helpers, never the reverse.
"""
