"""Reporters: a run record -> text. They see the record and nothing else, so yesterday's JSON renders as today's."""
