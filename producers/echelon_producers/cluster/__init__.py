"""Starting the processes of a cluster, watching them, and stopping them so that nothing is left."""
