"""The run directory of jobs/face_pairs.py, and its two plans: photos, then photos with splits."""

from raypipe.storage import schema
from raypipe.storage.directory import RunDirectory


class PairRun(RunDirectory):
    """A face_pairs run; its plan is the list of photos."""

    plan = schema.SOURCES
    plan_folder = "sources"
    plan_folders = ("sources",)
    keys = ("source",)
    folders = ("sources", "splits", "photos", "pairs", "checks", "metrics")


class SplitPlan(PairRun):
    """The same run once every photo has its split, which is the plan of inpainting."""

    plan = schema.SPLITS
    plan_folder = "splits"
    keys = ()  # a photo that is there twice has two rows
