"""Stains and ranges of the smears of version 2."""

import numpy as np

from wbcstudy.data.synthetic.domains import DOMAINS, RANGES
from wbcstudy.data.synthetic.varied import make_varied_smear


def test_domains_differ_in_the_colour_of_nuclei():
    def blueness(domain):
        values = []
        for seed in range(6):
            smear = make_varied_smear(seed, domain, 128, 128)
            if (smear.nuclei > 0).any():
                red, _, blue = np.median(smear.image[smear.nuclei > 0].astype(float), axis=0)
                values.append(np.log((blue + 1) / (red + 1)))
        return np.mean(values)

    colours = {domain: blueness(domain) for domain in DOMAINS}
    assert max(colours, key=colours.get) == "rapid" and min(colours, key=colours.get) == "leishman"


def test_every_range_has_a_meaning_and_a_source():
    assert all(row.low <= row.high and row.meaning and row.source for row in RANGES.values())
