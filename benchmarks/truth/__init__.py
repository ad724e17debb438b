"""The truth table: what a gateway must do, asked of any gateway by one command."""
