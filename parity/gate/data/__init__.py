"""What the gate is given: a project's plan, its recorded baseline, and the machine, as data."""
