"""Pages show any text as it is."""

import templates
from deploy.demo import Picture


def test_the_demo_names_the_lora_in_its_captions() -> None:
    page = templates.render(
        "demo/report.html.j2",
        hosts=[],
        trained_on="h1",
        drawn_on="h2",
        prompt="a cat",
        pictures=[Picture("With <lora:ink:1>", "")],
        difference=1.0,
        difference_at_zero=0.0,
        curve="",
        smooth_curve="",
        steps=1,
        first_loss=1.0,
        last_loss=1.0,
        timings=[],
    )
    assert "With &lt;lora:ink:1&gt;" in page
