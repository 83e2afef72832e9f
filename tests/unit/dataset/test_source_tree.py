import pytest


@pytest.mark.parametrize("text", ["labels/A.TXT", "x/y/a.txt"])
def test_images_that_share_their_name_with_a_text(plant, text):
    tree = plant(
        {
            "i/a.jpg": b"",
            "i/B.png": b"",
            "j/a.JPG": b"",
            "i/b.txt.jpg": b"",
            "i/c.jpg": b"",
            "i/c.xml": b"<a/>",
            text: b"0 1",
            "b.txt": b"x",
        }
    )
    assert list(tree.images_with_text("txt")) == ["i/B.png", "i/a.jpg", "j/a.JPG"]
    assert list(tree.images_with_text("xml")) == ["i/c.jpg"]
    assert list(tree.images_with_text("json")) == []
