"""The whole product once: broker, aggregator, world and vehicles, rounds of learning, and a report of what was seen."""
