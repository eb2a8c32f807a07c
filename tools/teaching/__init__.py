"""For those who teach: the instructor's kit, copies of the notebooks for a class, slides, answers, the doctor."""
