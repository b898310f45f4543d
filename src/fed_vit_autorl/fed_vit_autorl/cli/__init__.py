"""The ``fedvit`` command line. Commands and benches are found by entry points, so that upper packages add theirs."""
