"""Tables, plots and one HTML page from counted runs."""
