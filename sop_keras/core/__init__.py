"""The step that every method shares: ids, views, tables of examples, replicas."""
