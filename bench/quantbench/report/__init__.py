"""Reporters: a run record -> text. They see the record and nothing else, so yesterday's JSON renders as today's.

``report.html`` also shows what the run's folder holds besides; where it holds nothing, the page is made all the same.
"""
