"""What people type: `DagFlow`, and the `Run` that it gives."""
