"""The three states that an attempt can be seen in, one a file: none there, alive, ended. Pure, as decide is."""
