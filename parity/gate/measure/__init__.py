"""What the gate measures: takes a plan and two trees, and gives results and times, not judged."""
