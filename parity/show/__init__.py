"""Shows a report: takes a `Report`, and gives text, HTML, JSON or JUnit's XML."""
