"""The embedded world: SUMO traffic, MuJoCo sensors, weather, events and truth, without ROS and without a wall clock."""
