"""Shows the gate's result: takes a `Result`, and gives text, Markdown, JSON and a plot."""
