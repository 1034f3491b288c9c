"""The run directory of jobs/agreement.py."""

from hashlib import sha256

from raypipe.config.strict import JobConfig
from raypipe.storage.directory import RunDirectory
from raypipe.storage.files import Folder
from raypipe.studies.agreement.settings import Agreement


class AgreementRun(RunDirectory):
    """A run that is made again when there are further answers."""

    def is_finished(self, config: JobConfig) -> bool:
        """Whether it is complete, for the answers that there are now."""
        assert isinstance(config, Agreement)
        known = (self.manifest() or {}).get("answers_hash")
        return super().is_finished(config) and known == answers_hash(config)


def answers_hash(config: Agreement) -> str:
    """Hash of the answers that there are now."""
    return sha256(Folder(config.run).read("answers.parquet") or b"").hexdigest()
