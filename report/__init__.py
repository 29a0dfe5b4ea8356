"""What main_report.py writes: the summary of all runs, and the tables of the study from it."""
