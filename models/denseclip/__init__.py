"""DenseCLIP (Rao et al., CVPR 2022, arXiv 2112.01518), its semantic form: one file for each box of the paper."""
