"""The run directory of jobs/questions.py."""

from raypipe.storage.directory import RunDirectory


class QuestionRun(RunDirectory):
    """A run of questions, with their pictures."""

    folders = (*RunDirectory.folders, "pictures")
    kept = ("", "pictures")
