"""The page of a run or a comparison: one file that works offline.

Records and evidence come in; HTML goes out.
"""
