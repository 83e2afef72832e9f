"""The dataset room: labelled archives in, checked, split and stored once; immutable dataset versions out."""
