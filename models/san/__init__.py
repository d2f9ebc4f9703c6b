"""SAN, the Side Adapter Network (arXiv 2302.12242): one file for each box of the paper."""
