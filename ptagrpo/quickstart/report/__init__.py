"""What a run leaves for the eye: a table in the terminal, a picture of curves, a page of plan trees.

Everything here draws from records and numbers that it is handed; nothing trains, samples or judges.
"""
