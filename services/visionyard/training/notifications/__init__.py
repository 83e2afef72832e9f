"""Messages about training jobs: channels, events, templates, and their delivery."""
