"""What the vehicle's nodes share."""
