"""TODO-DOC."""

from raypipe.storage.directory import RunDirectory


class QuestionRun(RunDirectory):
    """The run directory of jobs/questions.py."""

    folders = (*RunDirectory.folders, "pictures")
