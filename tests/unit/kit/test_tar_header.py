"""Tar headers from a template are those that tarfile writes."""

from __future__ import annotations

import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionyard.kit.tar_header import HeaderTemplate

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=130)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT])
@given(name=st.one_of(NAMES, st.text("a/", min_size=95, max_size=105)), size=st.one_of(st.integers(0, 8**11 + 1), st.integers(0, 99999)))
def test_the_header_is_what_tarfile_writes(form, name, size):
    common = tarfile.TarInfo()
    common.mode = 0o640
    info = tarfile.TarInfo(name)
    info.mode, info.size = 0o640, size
    try:
        expected = info.tobuf(form, "utf-8", "surrogateescape")
    except ValueError:
        with pytest.raises(ValueError, match=r"size|overflow|name is too long|prefix"):
            HeaderTemplate(common, form).header(name, size)
    else:
        assert HeaderTemplate(common, form).header(name, size) == expected
