"""Pictures of versions for people: thumbnails with labels drawn, and the page of an import report."""
