# How `make` builds GPAW: with nothing but a C++ compiler. PBE and LDA are built in, and numpy's
# own BLAS does the linear algebra. For a system libxc, BLAS or MPI, see the README.
nolibxc = True
noblas = True
libraries = []
