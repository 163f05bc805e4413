"""The parts of benches/compare: processes, the HTTP client, load, peers, the pool, figures and the report."""
