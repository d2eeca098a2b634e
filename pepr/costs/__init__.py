"""What a job will take before it runs, and which model a budget buys."""
