"""The core API, by the guide's own names: `DagExecutor`, `Coordinator` and what they tell."""
