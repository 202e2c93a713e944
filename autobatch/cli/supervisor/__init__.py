"""`autobatch fit` as a supervisor: the training runs in a child process and is restarted when memory kills it."""
