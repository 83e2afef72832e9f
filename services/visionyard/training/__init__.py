"""The training room: training jobs, and the models that they make or that users push."""
