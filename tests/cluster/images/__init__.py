"""Images that the cluster itself needs: names of official ones, recipes for the single node."""
