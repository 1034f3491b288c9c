"""Names of a folder's files: what made them, and their batch. `STEM.BATCH_ID.parquet`."""

from collections.abc import Callable, Iterable

from raypipe.core.ids import file_stem
from raypipe.storage.files import Folder


def batch_file(folder: str, name: str, batch_id: str) -> str:
    """The file of a batch that the encoder or metric of this name made.

    >>> batch_file("scores", "image_reward", "0000-00000000")
    'scores/image_reward.0000-00000000.parquet'
    """
    return f"{folder}/{file_stem(name)}.{batch_id}.parquet"


class BatchFiles:
    """The files of a folder of a run, by the name of what made them.

    raypipe 0.1 named them otherwise: its runs go on with its names, unless a name could be that of
    two makers, since then it is not known which of them wrote a file last.
    """

    def __init__(
        self, run: Folder, folder: str, makers: Iterable[str], older: Callable[[str], str]
    ):
        """makers: names of all that make files here. older: the stem that 0.1 gave a name."""
        self._folder, self._there = folder, frozenset(run.names(folder))
        begun = {name.removesuffix(".parquet").rpartition(".")[0] for name in self._there}
        makers = list(makers)
        every = [stem.lower() for name in makers for stem in {older(name), file_stem(name)}]
        self._stems: dict[str, list[str]] = {}
        for name in makers:
            stems = [file_stem(name)]
            if older(name) != stems[0] and every.count(older(name).lower()) == 1:
                goes_on = older(name) in begun and stems[0] not in begun
                stems = [older(name), stems[0]] if goes_on else [stems[0], older(name)]
            self._stems[name] = stems

    def of(self, name: str, batch_id: str) -> str:
        """Name below the run of the file of a batch: the one that is there, else the one to be."""
        files = [f"{stem}.{batch_id}.parquet" for stem in self._stems[name]]
        found = next((file for file in files if file in self._there), files[0])
        return f"{self._folder}/{found}"

    def has(self, name: str, batch_id: str) -> bool:
        """Whether the file of a batch is there."""
        return self.of(name, batch_id).rpartition("/")[2] in self._there
