"""Settings under which the runs of these tests are cheap."""

#: What gpaw-vasp can do, and does quickly.
CHEAP = {
    "ALGO": "Normal",
    "EDIFF": 1e-3,
    "ENCUT": 200,
    "GGA": "PE",
    "ISMEAR": 0,
    "ISPIN": 1,
    "LREAL": False,
    "PREC": "Normal",
    "SIGMA": 0.1,
} | dict.fromkeys(
    ("KSPACING", "LAECHG", "LASPH", "LELF", "LMIXTAU", "LORBIT", "LVTOT", "MAGMOM", "NEDOS")
)
#: Custodian polls every ten seconds by default.
POLLING = {"polling_time_step": 0.05, "monitor_freq": 1}
