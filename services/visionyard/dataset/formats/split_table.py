"""Which images a source names for which split, in the staging database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from visionyard.dataset.staging import Staging

_RANK = {"train": 0, "val": 1, "test": 2, "": 0}


class SplitTable:
    """The splits that a source's own lists, folders or files name.

    Args:
        staging: The database; what an earlier table held is gone.
    """

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        staging.run("DROP TABLE IF EXISTS named")
        staging.run("CREATE TABLE named (path TEXT, rank INT, split TEXT, PRIMARY KEY (path, rank)) WITHOUT ROWID")

    def name(self, split: str, images: Iterable[str]) -> int:
        """Takes the images of a split; returns how many it has now."""
        for image in images:
            self.add(split, image)
        return self._one("SELECT COUNT(*) FROM named WHERE split = ?", split)

    def add(self, split: str, image: str) -> None:
        """Takes one image of a split, without counting: for lists that are read line by line."""
        self._staging.run("INSERT OR IGNORE INTO named VALUES (?, ?, ?)", (image, _RANK[split], split))

    def _one(self, statement: str, *parameters: str) -> int:
        row = self._staging.one(statement, parameters)
        return int(row[0]) if row else 0

    def same(self, one: str, other: str) -> bool:
        """Whether two splits hold just the same images."""
        both = self._one("SELECT COUNT(*) FROM named a JOIN named b ON a.path = b.path WHERE a.split = ? AND b.split = ?", one, other)
        return (
            both
            == self._one("SELECT COUNT(*) FROM named WHERE split = ?", one)
            == self._one("SELECT COUNT(*) FROM named WHERE split = ?", other)
        )

    def undraw(self, kept: str, dropped: str) -> None:
        """The images of ``kept`` are to be drawn (their split is empty); ``dropped`` is forgotten."""
        self._staging.run("DELETE FROM named WHERE split = ?", (dropped,))
        self._staging.run("UPDATE named SET split = '' WHERE split = ?", (kept,))

    def of(self, image: str) -> str | None:
        """The first split (train, val, test) that names the image; None where none does."""
        row = self._staging.one("SELECT split FROM named WHERE path = ? ORDER BY rank LIMIT 1", (image,))
        return row[0] if row else None

    def twice(self) -> Iterator[tuple[str, list[str]]]:
        """The images that several splits name, with those splits, the one that counts first; sorted."""
        statement = (
            "SELECT path, split FROM named WHERE path IN (SELECT path FROM named GROUP BY path HAVING COUNT(*) > 1) ORDER BY path, rank"
        )
        image, splits = "", list[str]()
        for path, split in self._staging.query(statement):
            if path != image and splits:
                yield image, splits
                splits = []
            image = path
            splits.append(split)
        if splits:
            yield image, splits

    def images(self) -> Iterator[str]:
        """The images that a split names, sorted."""
        return (path for (path,) in self._staging.query("SELECT DISTINCT path FROM named ORDER BY path"))

    def folders(self) -> Iterator[str]:
        """The folders that they lie in."""
        statement = "SELECT DISTINCT folder FROM files JOIN named ON files.path = named.path"
        return (folder for (folder,) in self._staging.query(statement))

    def __bool__(self) -> bool:
        """Whether any image is named; costs no counting, so it may be asked for each image."""
        return self._staging.one("SELECT 1 FROM named LIMIT 1") is not None

    def __len__(self) -> int:
        return self._one("SELECT COUNT(DISTINCT path) FROM named")
