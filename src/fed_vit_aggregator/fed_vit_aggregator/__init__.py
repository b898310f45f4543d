"""The aggregator service: rounds, releases and the page of a region's fleet."""
