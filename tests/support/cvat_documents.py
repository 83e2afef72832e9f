"""CVAT documents made for tests, and what the reader makes of them."""

from labellings import read_all

from visionyard.dataset.formats.detect import read_source

LABELS = "".join(f"<label><name>{name}</name></label>" for name in ("zebra", "ant"))
META = f"<meta><task><name>t</name><labels>{LABELS}</labels></task></meta>"


def cvat(*items, meta=META):
    return f"<?xml version='1.0' encoding='utf-8'?>\n<annotations><version>1.1</version>{meta}\n" + "\n".join(items) + "</annotations>"


def image(name, *shapes, size=(200, 100), **attributes):
    more = "".join(f' {key}="{value}"' for key, value in attributes.items())
    return f'<image id="0" name="{name}" width="{size[0]}" height="{size[1]}"{more}>' + "".join(shapes) + "</image>"


def box(left=10, top=20, right=50, bottom=40, label="ant", **attributes):
    more = "".join(f' {key}="{value}"' for key, value in attributes.items())
    return f'<box label="{label}" xtl="{left}" ytl="{top}" xbr="{right}" ybr="{bottom}"{more}></box>'


def read(plant, *items, meta=META, files=None):
    source = read_source(plant({"images/a.jpg": b"", **(files or {}), "annotations.xml": cvat(*items, meta=meta)}), "cvat")
    return source, read_all(source)


SKELETONS = (
    "<meta><task><labels><label><name>person</name><type>skeleton</type></label>"
    + "".join(f"<label><name>{name}</name><type>points</type><parent>person</parent></label>" for name in ("nose", "hand", "foot"))
    + "</labels></task></meta>"
)


def joint(label, x, y, **attributes):
    more = "".join(f' {key}="{value}"' for key, value in attributes.items())
    return f'<points label="{label}" points="{x},{y}"{more}><attribute name="a">b</attribute></points>'


def track(label, *shapes, **attributes):
    more = "".join(f' {key}="{value}"' for key, value in attributes.items())
    return f'<track id="0" label="{label}"{more}>' + "".join(shapes) + "</track>"


def on(frame, outside=0, kind="box", geometry='xtl="10" ytl="20" xbr="50" ybr="40"', inner=""):
    return f'<{kind} frame="{frame}" outside="{outside}" keyframe="1" {geometry}>{inner}</{kind}>'
