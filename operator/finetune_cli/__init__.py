"""`finetune`: jobs from the command line, with or without a cluster. Imports neither torch nor the trainer."""
