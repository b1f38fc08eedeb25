"""Hostile files of every kind, each built by itself."""

from hostile import archives, data_forms, hdf5_files, keras_files, links, records, saved_models, tflites
from hostile.room import Hostile

MODULES = (keras_files, hdf5_files, archives, saved_models, tflites, data_forms, links, records)
ALL: list[Hostile] = [hostile for module in MODULES for hostile in module.ALL]
BY_NAME = {hostile.name: hostile for hostile in ALL}
assert len(BY_NAME) == len(ALL)
