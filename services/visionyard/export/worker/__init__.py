"""The export worker: opens weights, builds the serving graph, holds it against its source, stores the artifact. Imports torch."""
