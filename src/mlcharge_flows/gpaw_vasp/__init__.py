"""An executable that speaks VASP's files and solves the Kohn-Sham equations with GPAW."""
