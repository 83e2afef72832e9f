"""What a reader of annotations makes of a source, gathered for a test."""

from dataclasses import dataclass, field

from visionyard.dataset.formats.labelled import UnreadLabels

SIZE = (200, 100)
"""Width and height that every picture is said to have."""


@dataclass
class Read:
    """A source's rows by image, with final class names."""

    kept: dict = field(default_factory=dict)
    problems: list = field(default_factory=list)
    orphans: dict = field(default_factory=dict)
    left_out: dict = field(default_factory=dict)
    unread: list = field(default_factory=list)

    @property
    def found(self):
        """How many labels there were, kept or not."""
        return sum(map(len, (*self.kept.values(), *self.orphans.values(), *self.left_out.values()))) + len(self.problems)


def pixels(row, size=SIZE):
    """A row's left, top, right, bottom in pixels, rounded."""
    width, height = size
    corners = (row.cx - row.w / 2) * width, (row.cy - row.h / 2) * height, (row.cx + row.w / 2) * width, (row.cy + row.h / 2) * height
    return tuple(round(value, 6) for value in corners)


def read_all(source, sizes=None):
    """Reads every row of a source: those that are kept by the image's path, those of orphans by its written name."""
    read = Read()
    for images, rows_of, known in (
        (source.images, read.kept, True),
        (source.left_out, read.left_out, True),
        (source.orphans, read.orphans, False),
    ):
        for image in images:
            size = (sizes or {}).get(image.path, SIZE) if known else (0, 0)
            try:
                rows = list(source.rows(image.labels, *size)) if image.labels else []
            except UnreadLabels:
                read.unread.append(image.labels)
                continue
            read.problems += [(row.problem.name, row.message, row.line) for row in rows if row.problem]
            rows_of[image.path] = [row for row in rows if not row.problem]
    return read


def named(source, rows):
    """The rows' class names in their order."""
    names, final = source.class_names(), source.final_class_ids()
    return [names[final[row.class_id]] for row in rows]


def codes(source):
    """The codes of a source's notes."""
    return [code.name for code, *_ in source.notes.items]
