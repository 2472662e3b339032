"""An adapter that cannot be imported: its framework asks for what is not there."""

import course

import parity

subject = parity.Subject(course.LAYERS)
