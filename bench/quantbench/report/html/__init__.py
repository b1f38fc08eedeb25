"""Render the page of a run or a comparison as one file that works offline.

Records and evidence come in; HTML goes out.
"""
