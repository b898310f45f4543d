"""The node graph, described once, and the two ways to start it: ROS 2 launch files and a small supervisor."""
