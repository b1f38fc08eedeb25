"""Render reports: a run's record comes in; Markdown, HTML, SVG, CSV, JUnit XML or text for a terminal goes out.

Reporters read the record alone, so that yesterday's JSON renders like today's. ``report.html`` also shows the evidence
in the run's folder, and is made without it where there is none.
"""
