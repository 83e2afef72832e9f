"""What a path in a data.yaml, or in a list of images that it names, means in a source.

Such paths are often those of another machine, or Roboflow's ``../train/images`` for what lies in ``./train/images``. A path is taken as written first; where that leads
nowhere, its longest ending that exists counts.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.labelled import Notes, split_of_folder
from visionyard.dataset.source import SourceTree, decode_text, suffix_of

_LINES_A_CHECK = 256


class Places:
    """Resolves the paths of one data.yaml.

    Args:
        tree: The source.
        root: The folder that the data.yaml lies in.
        path: The data.yaml's own ``path``, to which its splits are relative; empty where it has none.
        notes: Gets SPLIT_ENTRY_WITHOUT_IMAGE.

    Attributes:
        missing: Those of the paths that :meth:`images` was asked for last that lead to no folder of images and no list.
    """

    def __init__(self, tree: SourceTree, root: str, path: str, notes: Notes) -> None:
        self.missing: list[str] = []
        self._tree = tree
        self._notes = notes
        # Another machine's folder, or one above the source, cannot be had; what it is called may lie here all the same.
        base = "/".join(_names(posixpath.normpath(posixpath.join(root, path.replace("\\", "/")))))
        self._bases = [base, root] if base != root and len(base) <= tree.longest_path else [root]

    def images(self, places: Sequence[str]) -> Iterator[str]:
        """The images that a split's paths mean, each a folder or a list of files; an image may come more than once.

        A place that is named many times is read once, so that a YAML of many lines costs no more than what lies in the source.
        """
        folders: set[str] = set()
        lists: set[str] = set()
        self.missing = []
        for place in dict.fromkeys(places):
            self._tree.check()
            if not self._place(place, folders, lists):
                self.missing.append(place)
        for folder in sorted(folders):
            if not any(f"{folder}/".startswith(f"{other}/" if other else "") for other in folders - {folder}):
                yield from self._tree.images_under(folder)
        for path in sorted(lists):
            yield from self._listed(path)

    def _place(self, place: str, folders: set[str], lists: set[str]) -> bool:
        """Adds the folder or the list that a path means; False where there is none."""
        # Where a split's folder is given up, what is left no longer tells the splits apart.
        for candidate in self._candidates(place, self._bases, keep_splits=True):
            if suffix_of(candidate) == "txt" and (listed := self._tree.find(candidate)) and self._tree.is_text(listed):
                lists.add(listed)
                return True
            found = self._tree.find_folder(candidate)
            if found is not None:
                folders.add(found)
                return True
        return False

    def _listed(self, path: str) -> Iterator[str]:
        """The images that a list names, one a line, relative to its folder, to the one above, to the data.yaml or to the source."""
        folder = posixpath.dirname(path)
        bases = list(dict.fromkeys((folder, posixpath.dirname(folder), *self._bases, "")))
        for number, line in enumerate(decode_text(self._tree.read(path)).splitlines(), start=1):
            if number % _LINES_A_CHECK == 0:
                self._tree.check()
            if entry := line.strip():
                candidates = self._candidates(entry, bases, keep_splits=False)
                image = next((found for candidate in candidates if (found := self._tree.find(candidate))), None)
                if image:
                    yield image
                else:
                    message = f"{path} names {entry[:100]!r}, which is not there"
                    self._notes.add(Code.SPLIT_ENTRY_WITHOUT_IMAGE, message, path, number)

    def _candidates(self, place: str, bases: Sequence[str], *, keep_splits: bool) -> Iterator[str]:
        """Where a path may lead: as written from each base, then each of its endings, the longest first.

        Endings that are longer or deeper than anything in the source are passed over, so that the work is linear in the path's length.
        """
        place = place.replace("\\", "/")
        for base in bases:
            written = posixpath.normpath(posixpath.join(base, place))
            if not written.startswith(("/", "..")) and len(written) <= self._tree.longest_path:
                yield "" if written == "." else written
        names = _names(place)
        for start in range(len(names)):
            if keep_splits and start and split_of_folder(names[start - 1]):
                return
            if len(names) - start > self._tree.deepest_path:
                continue
            ending = "/".join(names[start:])
            if len(ending) <= self._tree.longest_path:
                yield from (posixpath.join(base, ending) for base in bases)


def _names(path: str) -> list[str]:
    """The folders and the file that a path names, without what climbs or stays."""
    return [name for name in path.split("/") if name not in {"", ".", ".."}]
