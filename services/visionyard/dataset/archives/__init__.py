"""Archives from strangers, read as streams of files: nothing of them is ever written to a path that they name."""
