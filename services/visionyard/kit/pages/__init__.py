"""What the pages for a browser share: their frame and style, and how templates are filled."""
