"""What the demo, the benchmark and the cluster tests share: nodes as processes, namespaces, outside comparison."""
