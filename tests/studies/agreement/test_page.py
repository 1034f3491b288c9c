"""The sentences on the page of jobs/agreement.py, and the lines that the job prints."""

import pytest

from raypipe.studies.agreement import page


def results(alpha: float) -> dict:
    """As much of results.json as the sentences read."""
    agreement = {"value": 0.841, "low": 0.768, "high": 0.893, "n": 12}
    return {
        "alpha": alpha,
        "kind": "pair",
        "scores": [{"name": "SCS", "agreement": agreement}],
        "annotators": ["a", "b", "c"],
        "reliability": {
            "krippendorff_alpha": {"value": None, "low": None, "high": None, "reason": "no answers"}
        },
        "notes": [],
    }


@pytest.mark.parametrize(("alpha", "level"), [(0.05, "95 %"), (0.1, "90 %"), (0.005, "99.5 %")])
def test_the_interval_is_named_by_its_level(alpha, level):
    first = page.summary(results(alpha)).splitlines()[0]
    assert first == (
        "SCS agrees with the majority on 84.1 % (76.8 to 89.3) of 12 decided questions "
        f"({level} interval)."
    )
