"""Privacy: noise, calibration, the budget's ledger, private learning, secure aggregation, sealing and signing."""
